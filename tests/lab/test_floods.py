"""A SYN flood and a UDP flood at a fixed rate: a thousand connections and a session with the director go on.

The flood is 4,000 SYNs and 8,000 UDP packets a second from addresses and ports drawn at random, for some
seconds: about what can be sent while two CPUs also have the lab's directors, backends and clients. The
services have limits far below it.
"""

import ipaddress
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from echoing import echo, exchange

from glbpy import _native as native
from glbpy import counters
from glbpy.client import path_of
from glbpy.lab import netns
from glbpy.lab.lab import POOL, SERVICE, Lab, document
from glbpy.lab.topology import DIRECTOR4, PORT, VIP4
from glbpy.lab.traffic import Client
from tests.lab.stayers import Crowd, Stayers

SYNS, DATAGRAMS, SECONDS = 4000, 8000, 8  # a second each; how long
NEW_FLOWS, UDP_PACKETS, UDP_PORT = 400, 1000, 9
CROWD = Crowd(1000, ("ask", "idle", "ask", "idle", "ask"), ask_s=2.0)
BGP = 179

# Sends IP packets from stdin (4 bytes of length before each) over and over, at a rate, for some seconds.
SENDER = """
import socket, struct, sys, time
rate, seconds = float(sys.argv[1]), float(sys.argv[2])
data, packets = sys.stdin.buffer.read(), []
while data:
    (n,) = struct.unpack_from(">I", data)
    packets.append(data[4 : 4 + n])
    data = data[4 + n :]
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
began, sent = time.monotonic(), 0
while (now := time.monotonic() - began) < seconds:
    for _ in range(min(int(now * rate) - sent, 500)):
        packet = packets[sent % len(packets)]
        out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
        sent += 1
    time.sleep(0.002)
print(sent)
"""


def ones(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def packet(draw: random.Random, protocol: int) -> bytes:
    """A SYN to the lab's service, or a UDP packet; from an address that nobody has."""
    source = (ipaddress.IPv4Address("198.18.0.0") + draw.randrange(1 << 17)).packed
    target, sport = ipaddress.IPv4Address(VIP4).packed, draw.randrange(1024, 65536)
    if protocol == socket.IPPROTO_TCP:
        segment = struct.pack(">HHIIBBHHH", sport, PORT, draw.getrandbits(32), 0, 0x50, 2, 8192, 0, 0)
        sum_ = ones(source + target + struct.pack(">HH", protocol, len(segment)) + segment)
        segment = segment[:16] + struct.pack(">H", sum_) + segment[18:]
    else:
        segment = struct.pack(">HHHH", sport, UDP_PORT, 26, 0) + bytes(18)
    size = 20 + len(segment)
    return struct.pack(">BBHHHBBH", 0x45, 0, size, 0, 0x4000, 64, protocol, 0) + source + target + segment


@contextmanager
def flood(lab: Lab, protocol: int, rate: int) -> Iterator[subprocess.Popen[bytes]]:
    draw = random.Random(protocol)
    packets = [packet(draw, protocol) for _ in range(4096)]
    command = ["ip", "netns", "exec", lab.state().namespaces.client, sys.executable, "-c", SENDER]
    with subprocess.Popen(
        [*command, str(rate), str(SECONDS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as sender:
        assert sender.stdin
        sender.stdin.write(b"".join(struct.pack(">I", len(each)) + each for each in packets))
        sender.stdin.close()
        yield sender


@contextmanager
def session(lab: Lab) -> Iterator[socket.socket]:
    """A connection from the router to director1's own address, as BGP has one; what it sends comes back."""
    with netns.entered(lab.state().namespaces.directors[0]):
        listener = socket.create_server((DIRECTOR4, BGP))

    thread = threading.Thread(target=lambda: echo(listener.accept()[0]), daemon=True)
    thread.start()
    with netns.entered(lab.state().namespaces.router):
        made = socket.create_connection((DIRECTOR4, BGP), timeout=20)
    with listener, made:
        yield made
    thread.join(10)


def keepalive(connection: socket.socket) -> float:
    """As long as one of BGP's; the seconds that it took."""
    return exchange(connection, os.urandom(19))


def limited(lab: Lab) -> dict[str, Any]:
    """The lab's document, its service limited, and a UDP service beside it."""
    whole = document(lab.backends())
    whole["services"][0]["limits"] = {"new_flows_per_second": NEW_FLOWS, "new_flows_burst": NEW_FLOWS}
    udp = {"name": "sink", "vips": [VIP4], "protocol": "udp", "ports": [UDP_PORT], "pool": POOL}
    limits = {"packets_per_second": UDP_PACKETS, "packets_burst": UDP_PACKETS}
    whole["services"].append(udp | {"hash_fields": ["src_addr", "src_port"], "limits": limits})
    return whole


def seen(lab: Lab) -> dict[str, int]:
    """What all directors have counted, by reason, and what services refused, by name."""
    total: dict[str, int] = dict.fromkeys((*native.REASONS, SERVICE, "sink"), 0)
    for forwarder in lab.forwarders():
        status = forwarder.status()
        for reason, count in status.counters.items():
            total[reason] += count
        for refused in counters.read(status.stats_path).refused.values():
            total[SERVICE] += refused["flows_limited"]
            total["sink"] += refused["packets_limited"]
    return total


def test_connections_and_a_session_survive_floods(lab: Lab, client: Client) -> None:
    directors = len(lab.forwarders())
    with Stayers(client, CROWD) as stayers, session(lab) as bgp, lab.api() as api:
        written = api.post(path_of("apply"), limited(lab))
        lab.wait_in_force(api, written["revision"])
        before, times = seen(lab), [keepalive(bgp)]
        began = time.monotonic()
        with flood(lab, socket.IPPROTO_TCP, SYNS) as syns, flood(lab, socket.IPPROTO_UDP, DATAGRAMS) as udp:
            while syns.poll() is None or udp.poll() is None:
                times.append(keepalive(bgp))
                time.sleep(0.1)
            assert syns.stdout
            assert udp.stdout
            sent = int(syns.stdout.read()), int(udp.stdout.read())
        stayers.exercise()
        after = seen(lab)
        took = time.monotonic() - began
        stayers.finish()
        api.post(path_of("apply") + "?prune=true", document(lab.backends()))
    print(
        f"{sent[0] / SECONDS:.0f} SYNs/s, {sent[1] / SECONDS:.0f} datagrams/s; exchanges: median "
        f"{sorted(times)[len(times) // 2] * 1000:.1f} ms, worst {max(times) * 1000:.0f} ms"
    )
    assert min(sent) > 1000 * SECONDS  # else it was no flood
    assert len(times) > SECONDS
    refused = {
        name: after[name] - before[name] for name in (SERVICE, "sink", "flows_limited", "packets_limited")
    }
    assert refused[SERVICE] == refused["flows_limited"]
    assert refused["sink"] == refused["packets_limited"]
    # each director has the whole limit: what they let through, with the burst, is a fraction of the flood
    assert sent[0] - refused[SERVICE] <= directors * NEW_FLOWS * (took + 1) + 1000
    assert sent[1] - refused["sink"] <= directors * UDP_PACKETS * (took + 1)
