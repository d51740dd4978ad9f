"""A port that DPDK owns and that punts through a tap interface: the kernel is reachable, also in a flood.

    peer namespace                    director namespace
    far0 ────────── veth ─────────── director0 ══ forwarder ══ glb0 (tap)
    192.0.2.77, 2001:db8:2::77       no address               192.0.2.1, 2001:db8:2::1

director0 plays a NIC that DPDK owns: its kernel side answers nothing and takes nothing in.
"""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from echoing import echo, exchange
from oracle.build import ARP, IPV4, ethernet, ipv4, udp
from redirect.netns import Namespace

from dataplane.rig import Director, ping, run_once, snapshot, to_toml
from glbpy.errors import ForwarderError

AF_PACKET = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"
TAP = "glb0"
DIRECTOR = {4: "192.0.2.1", 6: "2001:db8:2::1"}
PEER = {4: "192.0.2.77", 6: "2001:db8:2::77"}
BITS = {4: 24, 6: 64}
PIPELINE_ARGS = ["--no-huge", "-m", "160", "--no-pci"]

Make = Callable[..., Director]
Name = Callable[[str], str]

# Sends one frame as fast as a process can, past the queueing discipline, for some seconds; says how often.
FLOOD = """
import ctypes, socket, sys, time
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("len", ctypes.c_size_t)]
class Message(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("name_len", ctypes.c_uint32), ("vector", ctypes.POINTER(Vector)),
                ("count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_len", ctypes.c_size_t),
                ("flags", ctypes.c_long), ("sent", ctypes.c_long)]
PACKET_QDISC_BYPASS, SOL_PACKET = 20, 263
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
link.bind((sys.argv[1], 0))
frame = bytes.fromhex(sys.argv[2])
vector = Vector(frame, len(frame))
messages = (Message * 256)(*(Message(None, 0, ctypes.pointer(vector), 1) for _ in range(256)))
libc, end, sent = ctypes.CDLL(None), time.monotonic() + float(sys.argv[3]), 0
while time.monotonic() < end:
    sent += max(libc.sendmmsg(link.fileno(), messages, 256, 0), 0)
print(sent)
"""


class Two:
    """The two namespaces of the picture."""

    def __init__(self) -> None:
        self.director, self.peer = Namespace("punt-d"), Namespace("punt-p")
        self.director.ip("link", "add", "director0", "type", "veth", "peer", "name", "far0")
        self.director.ip("link", "set", "far0", "netns", self.peer.name)
        self.director.sysctl("net.ipv6.conf.director0.disable_ipv6", 1)
        self.director.sysctl("net.ipv4.conf.director0.rp_filter", 1)
        self.director.ip("link", "set", "director0", "arp", "off", "up")
        self.peer.run("ethtool", "-K", "far0", "tx", "off")
        self.peer.ip("link", "set", "far0", "up")
        self.give("far0", self.peer, PEER)
        self.mac = self.director.run("cat", "/sys/class/net/director0/address").strip()
        self.prefix = ("ip", "netns", "exec", self.director.name)

    @staticmethod
    def give(interface: str, space: Namespace, addresses: dict[int, str]) -> None:
        for family, address in addresses.items():
            extra = ("nodad",) if family == 6 else ()
            space.ip("addr", "add", f"{address}/{BITS[family]}", "dev", interface, *extra)

    def close(self) -> None:
        self.director.delete()
        self.peer.delete()


@pytest.fixture
def two() -> Iterator[Two]:
    made = Two()
    yield made
    made.close()


def start(make: Make, name: Name, two: Two, **sections: dict[str, Any]) -> Director:
    director = make(name("punt"), AF_PACKET, prefix=two.prefix, **sections)
    director.document["port"] = [{"devargs": AF_PACKET, "punt": "tap", "punt_interface": TAP}]
    director.toml.write_text(to_toml(director.document))
    snapshot(director.snapshot)
    director.start()
    Two.give(TAP, two.director, DIRECTOR)
    return director


class Speaker:
    """A BGP-like listener on port 179 behind the tap, which sends back what comes."""

    def __init__(self, two: Two, family: int) -> None:
        self.two, self.family = two, family
        with two.director.entered():
            self.listener = socket.create_server(
                (DIRECTOR[family], 179), family=socket.AF_INET if family == 4 else socket.AF_INET6
            )
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    def connect(self) -> socket.socket:
        with self.two.peer.entered():
            return socket.create_connection((DIRECTOR[self.family], 179), timeout=20)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def speakers(two: Two) -> Iterator[Callable[[int], Speaker]]:
    made: list[Speaker] = []

    def speaker(family: int) -> Speaker:
        made.append(Speaker(two, family))
        return made[-1]

    yield speaker
    for each in made:
        each.close()


def neighbours(space: Namespace, interface: str) -> dict[str, str]:
    """Addresses and MACs that the kernel has resolved."""
    said = space.ip("neigh", "show", "dev", interface)
    return dict(re.findall(r"^(\S+) lladdr (\S+)", said, re.MULTILINE))


def test_the_kernel_is_reachable(
    make: Make, name: Name, two: Two, speakers: Callable[[int], Speaker]
) -> None:
    """ARP, ND, ping and TCP both ways, with the port's MAC and MTU on the tap."""
    director = start(make, name, two)
    assert two.director.run("cat", f"/sys/class/net/{TAP}/address").strip() == two.mac
    assert two.director.run("cat", f"/sys/class/net/{TAP}/mtu").strip() == "1500"
    for family in (4, 6):
        assert ping(two.peer, DIRECTOR[family])[1] == 10
        assert ping(two.director, PEER[family], "-s", "1400")[1] == 10
        assert neighbours(two.peer, "far0")[DIRECTOR[family]] == two.mac
        with speakers(family).connect() as session:
            exchange(session, os.urandom(200000))
    punt = director.client.status().punt[0]
    assert punt.interface == TAP
    assert punt.classes["neighbour"].to_kernel >= 2  # an ARP and an ND packet at least
    assert punt.classes["routing"].to_kernel > 100
    assert punt.classes["other"].to_kernel >= 40
    assert punt.from_kernel > 140
    assert punt.from_kernel_dropped == 0
    assert all(each.limited == each.queue_full == each.refused == 0 for each in punt.classes.values())
    assert director.terminate() == 0
    assert TAP not in two.director.ip("link")


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"forward": {"run_model": "pipeline"}, "eal": {"workers": 2, "senders": 1, "args": PIPELINE_ARGS}},
    ],
    ids=["run-to-completion", "pipeline"],
)
def test_routing_survives_a_flood(
    make: Make, name: Name, two: Two, speakers: Callable[[int], Speaker], sections: dict[str, Any]
) -> None:
    """64-byte UDP to the director itself, as fast as one process can, of one flow, so that in a pipeline one
    worker gets it all: sessions stay, new ones come, neighbours are found."""
    director = start(make, name, two, punt={"other_rate": 500}, **sections)
    sessions = {family: speakers(family) for family in (4, 6)}
    kept = {family: each.connect() for family, each in sessions.items()}
    frame = ethernet(ipv4(PEER[4], DIRECTOR[4], 17, udp(5, 9, bytes(18))), IPV4, dst=two.mac)
    command = ["ip", "netns", "exec", two.peer.name, sys.executable, "-c", FLOOD, "far0", frame.hex(), "4"]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flood:
        director.wait_for("punt_limited", 1000)
        times = []
        while flood.poll() is None:
            for family, session in kept.items():
                times.append(exchange(session, b"keepalive" * 20))
                two.peer.ip("neigh", "flush", "dev", "far0")
                with sessions[family].connect() as fresh:
                    exchange(fresh, b"open")
        assert flood.stdout
        sent = int(flood.stdout.read())
    for session in kept.values():
        exchange(session, b"still here")
        session.close()
    status = director.client.status()
    classes = status.punt[0].classes
    print(f"{sent / 4:.0f} packets/s; exchanges: median {sorted(times)[len(times) // 2] * 1000:.2f} ms, "
          f"worst {max(times) * 1000:.2f} ms, {len(times)} in all")  # fmt: skip
    assert len(times) >= 4
    assert sent > 10000
    assert classes["other"].limited > 1000
    assert 500 < classes["other"].to_kernel < 2 * 512 + 500 * (time.monotonic() - began)
    for kind in ("neighbour", "routing"):
        assert classes[kind].limited == classes[kind].queue_full == 0
        assert classes[kind].to_kernel > 0
    assert status.counters["punt_limited"] == classes["other"].limited


def test_an_idle_forwarder_answers_arp_at_once(make: Make, name: Name, two: Two) -> None:
    start(make, name, two)
    target, sender = socket.inet_aton(DIRECTOR[4]), socket.inet_aton(PEER[4])
    mac = bytes.fromhex("0200000000aa")
    request = bytes.fromhex("0001080006040001") + mac + sender + bytes(6) + target
    with two.peer.entered():
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP))
    link.bind(("far0", ARP))
    link.settimeout(5)
    times = []
    for _ in range(20):
        time.sleep(0.1)  # long enough for all to sleep
        began = time.monotonic()
        link.send(ethernet(request, ARP, dst="ff:ff:ff:ff:ff:ff"))
        while True:
            frame, address = link.recvfrom(2000)
            if address[2] != socket.PACKET_OUTGOING and frame[20:22] == b"\0\2":
                break
        times.append(time.monotonic() - began)
        assert frame[22:28] == bytes.fromhex(two.mac.replace(":", ""))
    link.close()
    median = sorted(times)[len(times) // 2]
    print(f"ARP answered: median {median * 1000:.2f} ms, worst {max(times) * 1000:.2f} ms")
    assert median < 0.1


def test_an_interface_that_is_down_refuses(make: Make, name: Name, two: Two) -> None:
    director = start(make, name, two)
    two.director.ip("link", "set", TAP, "down")
    before = director.client.status().punt[0].classes["other"].to_kernel  # the peer's own multicast
    frame = ethernet(ipv4(PEER[4], DIRECTOR[4], 17, udp(5, 9)), IPV4, dst=two.mac)
    with two.peer.entered():
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    link.bind(("far0", 0))
    for _ in range(20):
        link.send(frame)
    link.close()
    deadline = time.monotonic() + 10
    while director.client.status().punt[0].classes["other"].refused < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    other = director.client.status().punt[0].classes["other"]
    assert other.refused >= 20
    assert other.to_kernel == before
    assert director.terminate() == 0


def test_an_interface_that_is_there_is_left_alone(make: Make, name: Name, two: Two) -> None:
    two.director.ip("link", "add", TAP, "type", "veth", "peer", "name", "other0")
    with pytest.raises(ForwarderError, match="there is an interface glb0 already"):
        start(make, name, two)
    assert TAP in two.director.ip("link")


@pytest.mark.parametrize(
    ("port", "said"),
    [
        ({"punt": "tap"}, "port[0].punt_interface: missing; name the interface"),
        ({"punt_interface": TAP}, "port[0].punt_interface: of no use without punt"),
        ({"punt": "tap", "punt_interface": "a/b"}, "is no name for an interface"),
        (
            {"punt": "tap", "punt_interface": "sixteen-or-more0"},
            "port.punt_interface: must be a shorter string",
        ),
        ({"punt": "kernel", "punt_interface": TAP}, 'port.punt: must be "none" or "tap" or "virtio-user"'),
    ],
)
def test_wrong_configuration(tmp_path: Any, port: dict[str, str], said: str) -> None:
    document = {
        "director": {"name": "wrong", "run_dir": str(tmp_path / "run")},
        "forward": {"outer_source_v4": "172.16.0.1", "gateway_mac": "02:00:00:00:00:fe"},
        "port": [{"devargs": "net_null0", **port}],
    }
    path = tmp_path / "director.toml"
    path.write_text(to_toml(document))
    done = run_once("--config", str(path), "--check")
    assert done.returncode == 2
    assert said in done.stderr
