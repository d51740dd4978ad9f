"""Datagrams of 64 kB through the balancer and back, each in 45 fragments or so: real stacks, on af_xdp.

On net_af_packet the director's kernel would put IPv4 fragments together. The router spreads flows over two
directors, by addresses and, where packets have them, ports: fragments by addresses alone, the first included.
Then it is made to part each datagram: what has ports goes to one director, the rest to the other.
"""

import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glbpy.client import path_of
from glbpy.lab import netns, topology
from glbpy.lab.lab import POOL, Lab, document
from glbpy.lab.topology import VIP4, VIP6

GLB = str(Path(sys.executable).with_name("glb"))
PORT = 5300
SO_RCVBUFFORCE, IPV6_MTU = 33, 24
VIPS = {4: VIP4, 6: VIP6}
CLIENTS, DATAGRAMS = 6, 5
SIZE = 65_000  # with 28 or 48 bytes of headers it is just below what there may be
ALL_FIELDS = ["src_addr", "dst_addr", "src_port", "dst_port"]
HANDED_ON = {"fragment_redirected", "fragment_from_peer"}  # between directors, as it should be
PARTED = """
table inet glbtest {
    chain parted {
        type filter hook prerouting priority -150;
        ip frag-off & 0x1fff != 0 meta mark set 1
        frag frag-off != 0 meta mark set 1
    }
}
"""
BUFFER = 4 << 20  # bytes: a datagram of 64 kB counts with all that its packets take


class Mirror:
    """Answers each datagram on the VIPs of a backend: with its name and what came."""

    def __init__(self, namespace: str, name: bytes) -> None:
        self.name, self.came = name, 0
        self.sockets = []
        with netns.entered(namespace):
            for family, vip in ((socket.AF_INET, VIP4), (socket.AF_INET6, VIP6)):
                each = socket.socket(family, socket.SOCK_DGRAM)
                each.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
                if family == socket.AF_INET6:  # the backends' link has 1600, what is behind the router 1500
                    each.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU, 1500)
                each.bind((vip, PORT))
                each.settimeout(0.2)
                self.sockets.append(each)
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self.serve, args=(each,)) for each in self.sockets]
        for thread in self.threads:
            thread.start()

    def serve(self, sock: socket.socket) -> None:
        while not self.done.is_set():
            try:
                data, sender = sock.recvfrom(65536)
            except TimeoutError:
                continue
            self.came += 1
            sock.sendto(self.name + data[len(self.name) :], sender)

    def close(self) -> None:
        self.done.set()
        for thread in self.threads:
            thread.join()
        for each in self.sockets:
            each.close()


@pytest.fixture(scope="module")
def xdp_lab(lab_name: Callable[[str], str]) -> Iterator[Lab]:
    lab = Lab(lab_name("frag"))
    lab.down()
    command = [GLB, "lab", "up", "--name", lab.name, "--driver", "af_xdp", "--directors", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    yield lab
    lab.down()
    assert not any(lab.rundir.traces().values())


@pytest.fixture(scope="module")
def mirrors(xdp_lab: Lab) -> Iterator[list[Mirror]]:
    made = [Mirror(each.ns, each.name.encode()) for each in xdp_lab.backends()]
    yield made
    for each in made:
        each.close()


def serve(lab: Lab, **fields: Any) -> None:
    """Have the lab's directors balance the port, with these fields of the service."""
    whole = document(lab.backends())
    service = {"name": "media", "vips": [VIP4, VIP6], "protocol": "udp", "ports": [PORT], "pool": POOL}
    whole["services"].append(service | {"hash_fields": ALL_FIELDS, "fragments": "follow"} | fields)
    with lab.api() as api:
        written = api.post(path_of("apply"), whole)
        lab.wait_in_force(api, written["revision"])


def greet(client: socket.socket, vip: str) -> None:
    """Exchange something small, so that everybody on the way knows his neighbours: while a kernel asks for
    one it keeps few packets for it."""
    client.settimeout(0.5)
    for _ in range(10):
        client.sendto(bytes(100), (vip, PORT))
        try:
            client.recv(1000)
            break
        except TimeoutError:
            continue
    client.settimeout(5)


def exchange(lab: Lab, family: int) -> dict[str, int]:
    """Send datagrams from several clients' sockets, one at a time; who answered how many, whole."""
    answered: dict[str, int] = {}
    with netns.entered(topology.namespace(lab.name, "client")):
        kind = socket.AF_INET6 if family == 6 else socket.AF_INET
        sockets = [socket.socket(kind, socket.SOCK_DGRAM) for _ in range(CLIENTS)]
    for number, each in enumerate(sockets):
        with each:
            each.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            greet(each, VIPS[family])
            for _ in range(DATAGRAMS):
                sent = random.Random(number).randbytes(SIZE)
                each.sendto(sent, (VIPS[family], PORT))
                back = each.recv(65536)
                name = back[: len("backend1")].decode()
                assert back[len(name) :] == sent[len(name) :]
                answered[name] = answered.get(name, 0) + 1
    return answered


def trouble(grown: dict[str, int]) -> set[str]:
    """The reasons among these that tell of fragments that did not go on."""
    return {reason for reason in grown if reason.startswith(("fragment", "later_fragment"))} - HANDED_ON


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("directors", [1, 2])
def test_none_is_lost(xdp_lab: Lab, mirrors: list[Mirror], family: int, directors: int) -> None:
    serve(xdp_lab)
    names = [each.name for each in xdp_lab.directors()][:directors]
    xdp_lab.route(names)
    before = xdp_lab.counters()
    answered = exchange(xdp_lab, family)
    after = xdp_lab.counters()
    assert sum(answered.values()) == CLIENTS * DATAGRAMS
    assert len(answered) > 1, "all flows went to one backend"
    grown = {reason: n - before[reason] for reason, n in after.items() if n != before[reason]}
    assert grown["forwarded"] + grown.get("fragment_from_peer", 0) >= CLIENTS * DATAGRAMS * 44
    assert not trouble(grown)
    assert grown.get("fragment_redirected", 0) == grown.get("fragment_from_peer", 0)


@pytest.fixture
def parted(xdp_lab: Lab) -> Iterator[None]:
    """A router that sends first fragments, which have ports, to director1 and all others to director2."""
    router = topology.namespace(xdp_lab.name, "router")
    xdp_lab.route(["director1"])
    other = xdp_lab.director("director2")
    netns.run_in(router, ["nft", PARTED])
    ways = {VIP4: other.address4, VIP6: other.address6}
    lines = [f"route add {vip} via {address} table 100" for vip, address in ways.items()]
    netns.ip(router, lines)
    for family in ("-4", "-6"):
        netns.run_in(router, ["ip", family, "rule", "add", "fwmark", "1", "lookup", "100"])
    yield
    for family in ("-4", "-6"):
        netns.run_in(router, ["ip", family, "rule", "del", "fwmark", "1", "lookup", "100"])
    netns.ip(router, [line.replace(" add ", " del ") for line in lines])
    netns.run_in(router, ["nft", "delete table inet glbtest"])
    xdp_lab.route([])


@pytest.mark.parametrize("family", [4, 6])
def test_none_is_lost_where_first_fragments_go_elsewhere(
    xdp_lab: Lab, mirrors: list[Mirror], parted: None, family: int
) -> None:
    serve(xdp_lab)
    before = {each.name: xdp_lab.forwarder(each.name).status().counters for each in xdp_lab.directors()}
    answered = exchange(xdp_lab, family)
    assert sum(answered.values()) == CLIENTS * DATAGRAMS
    assert len(answered) > 1, "all flows went to one backend"
    grown = {
        name: {reason: n - then[reason] for reason, n in now.items() if n != then[reason]}
        for name, then in before.items()
        for now in [xdp_lab.forwarder(name).status().counters]
    }
    assert not any(trouble(each) for each in grown.values()), grown
    chosen, other = sorted(grown, key=lambda name: "fragment_redirected" in grown[name])
    assert grown[other]["fragment_redirected"] == grown[chosen]["fragment_from_peer"]
    later = CLIENTS * DATAGRAMS * 43
    assert grown[other]["fragment_redirected"] >= (later if other == "director2" else CLIENTS * DATAGRAMS)
    assert grown[chosen]["forwarded"] >= (later if chosen == "director2" else CLIENTS * DATAGRAMS)


def test_by_source_alone_nobody_hands_on(xdp_lab: Lab, mirrors: list[Mirror], parted: None) -> None:
    serve(xdp_lab, hash_fields=["src_addr"])
    before = xdp_lab.counters()["fragment_redirected"]
    assert sum(exchange(xdp_lab, 4).values()) == CLIENTS * DATAGRAMS
    assert xdp_lab.counters()["fragment_redirected"] == before


@pytest.mark.parametrize("family", [4, 6])
def test_by_source_alone_none_is_lost_either(xdp_lab: Lab, mirrors: list[Mirror], family: int) -> None:
    serve(xdp_lab, hash_fields=["src_addr"])
    xdp_lab.route([])
    assert sum(exchange(xdp_lab, family).values()) == CLIENTS * DATAGRAMS


def test_without_following_none_arrives(xdp_lab: Lab, mirrors: list[Mirror]) -> None:
    serve(xdp_lab, fragments="drop")
    came = sum(each.came for each in mirrors)
    with netns.entered(topology.namespace(xdp_lab.name, "client")):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client:
        client.settimeout(0.5)
        client.sendto(bytes(SIZE), (VIP4, PORT))
        with pytest.raises(TimeoutError):
            client.recv(65536)
    assert sum(each.came for each in mirrors) == came
    assert xdp_lab.counters()["later_fragment"] >= 43
