"""Next hops of a port that DPDK owns: the kernel finds them through the tap that the port punts to.

The picture is in test_punt.py. The peer is the router to the backend, by IPv4 (ARP) or by IPv6 (neighbour
discovery):
its kernel answers what the director's asks, and asks itself.
"""

import re
import time
from collections.abc import Callable

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import VIP, Director, Wire, ping, snapshot
from dataplane.test_nexthop import missing, wait_missing
from dataplane.test_punt import AF_PACKET, BITS, DIRECTOR, PEER, TAP, Two, neighbours, two

__all__ = ["two"]

BACKEND = "10.9.9.9"
ROUTER = {4: (PEER[4],), 6: ("inet6", PEER[6])}

Make = Callable[..., Director]
Name = Callable[[str], str]


def start(make: Make, name: Name, two: Two, run_model: str) -> Director:
    forward = {"outer_source_v4": DIRECTOR[4], "run_model": run_model}
    director = make(name("pn"), AF_PACKET, prefix=two.prefix, forward=forward)
    del director.document["forward"]["gateway_mac"]
    director.document["port"] = [{"devargs": AF_PACKET, "punt": "tap", "punt_interface": TAP}]
    director.write()
    snapshot(director.snapshot, backends=(BACKEND,))
    return director.start()


def forwarded(two: Two) -> set[str]:
    """Send clients' packets; the MACs to which they come back, wrapped."""
    with two.peer.entered():
        wire = Wire("far0")
    try:
        packets = [ipv4("198.51.100.7", VIP, 6, tcp(sport, 80)) for sport in range(1024, 1034)]
        wire.send(ethernet(packet, IPV4, dst=two.mac) for packet in packets)
        frames = wire.receive(10, 5)
        assert len(frames) == 10
        return {frame[:6].hex(":") for frame in frames}
    finally:
        wire.close()


@pytest.mark.parametrize("run_model", ["run-to-completion", "pipeline"])
@pytest.mark.parametrize("family", [4, 6])
def test_the_kernel_resolves_through_the_tap(
    make: Make, name: Name, two: Two, family: int, run_model: str
) -> None:
    """No kernel_interface: the punt interface is it. ARP and ND go both ways through it, and only there."""
    director = start(make, name, two, run_model)
    assert f"next hops are the kernel's on {TAP}" in director.log.read_text()
    assert missing(director) == {BACKEND: "no_route"}  # the tap has no address yet
    Two.give(TAP, two.director, DIRECTOR)
    two.director.ip("route", "add", f"{BACKEND}/32", "via", *ROUTER[family], "dev", TAP)
    wait_missing(director, {})
    far_mac = two.peer.run("cat", "/sys/class/net/far0/address").strip()
    assert neighbours(two.director, TAP)[PEER[family]] == far_mac
    assert neighbours(two.director, "director0") == {}
    before = director.client.status().punt[0]
    assert before.from_kernel >= 1  # the question
    assert before.classes["neighbour"].to_kernel >= 1  # the answer

    assert forwarded(two) == {far_mac}

    # the other way: the peer asks for the director
    two.peer.ip("neigh", "flush", "dev", "far0")
    assert ping(two.peer, DIRECTOR[family])[1] == 10
    assert neighbours(two.peer, "far0")[DIRECTOR[family]] == two.mac
    after = director.client.status().punt[0]
    assert after.classes["neighbour"].to_kernel > before.classes["neighbour"].to_kernel

    # the router is replaced: the kernel learns of it through the tap, and the forwarder from the kernel
    new = "02:00:00:00:77:77"
    two.peer.ip("link", "set", "far0", "down")
    two.peer.ip("link", "set", "far0", "address", new, "up")
    if family == 6:
        two.peer.ip("addr", "replace", f"{PEER[6]}/{BITS[6]}", "dev", "far0", "nodad")
    ping(two.peer, DIRECTOR[family])
    deadline = time.monotonic() + 20
    while (seen := forwarded(two)) != {new} and time.monotonic() < deadline:
        time.sleep(0.1)
    assert seen == {new}
    counters = director.counters()
    assert counters["no_next_hop"] == 0
    assert not re.search(r" error:", director.log.read_text())
    assert director.terminate() == 0
