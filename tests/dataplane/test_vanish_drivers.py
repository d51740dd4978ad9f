"""Ports that go away while the forwarder runs, by driver: af_xdp, tap.

af_packet is in test_vanish.py, memif in test_memif.py.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import VIP, Director, Segment, Wire, snapshot

AF_XDP = "net_af_xdp0,iface=director0"
TAP = "glbtap0"

Make = Callable[..., Director]
Name = Callable[[str], str]


def port(director: Director, device: str) -> dict[str, Any]:
    ports = director.client.request({"version": 1, "command": "status"})["ports"]
    assert isinstance(ports, list)
    (found,) = (each for each in ports if each["name"] == device)
    assert isinstance(found, dict)
    return found


def wait_for(
    director: Director, device: str, wanted: dict[str, object], timeout_s: float = 20
) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while True:
        seen = port(director, device)
        if wanted.items() <= seen.items():
            return seen
        assert time.monotonic() < deadline, (wanted, seen)
        time.sleep(0.05)


def syn(mac: str, sport: int, vip: str = VIP) -> bytes:
    return ethernet(ipv4("192.0.2.77", vip, 6, tcp(sport, 80)), IPV4, dst=mac)


def remake(segment: Segment) -> None:
    """The veth once more, as a driver that is loaded again does: other index, other MAC."""
    segment.namespace.ip("link", "add", "director0", "type", "veth", "peer", "name", "far0")
    for interface in ("director0", "far0"):
        segment.namespace.sysctl(f"net.ipv6.conf.{interface}.disable_ipv6", 1)
        segment.namespace.ip("link", "set", interface, "mtu", "1600", "up")
    segment.mac = segment.namespace.run("cat", "/sys/class/net/director0/address").strip()
    with segment.namespace.entered():
        segment.wire = Wire("far0")


def test_af_xdp(make: Make, name: Name, segment: Segment, tmp_path: Path) -> None:
    """Six times, which is more often than its buffers would last; VIPs are those of the newest snapshot."""
    director = make(name("vx"), AF_XDP, prefix=segment.prefix)
    director.document["eal"]["mbufs"] = 8191
    director.write()
    snapshot(director.snapshot)
    director.start()
    for round_ in range(1, 7):
        segment.wire.send(syn(segment.mac, sport) for sport in range(1000, 1100))
        assert len(segment.wire.receive(100)) == 100
        segment.wire.close()
        segment.namespace.ip("link", "del", "director0")
        wait_for(director, "net_af_xdp0", {"interface": "gone", "vanished": round_, "reopened": round_ - 1})
        director.client.load(snapshot(tmp_path / "next", services=1 + round_ % 2, revision=1 + round_))
        remake(segment)
        seen = wait_for(director, "net_af_xdp0", {"interface": "up", "vanished": round_, "reopened": round_})
        assert seen["mac"] == segment.mac
        assert seen["xdp"]["taken"] == 0
        segment.wire.send([syn(segment.mac, 7, "203.0.113.11")])  # the second service's VIP
        assert len(segment.wire.receive(1, 0.5)) == round_ % 2
    segment.wire.send(syn(segment.mac, sport) for sport in range(1000, 3000))
    assert director.wait_for("forwarded", 603 + 2000)["forwarded"] == 603 + 2000
    assert port(director, "net_af_xdp0")["rx_missed"] == 0
    log = director.log.read_text()
    assert log.count("interface director0 is back") == 6
    taken_back = re.findall(r"(\d+) buffers of the interface that is gone are taken back", log)
    assert len(taken_back) == 6
    assert min(map(int, taken_back)) > 8191 // 6  # without which the last would not have come up
    assert director.terminate() == 0


def test_af_xdp_on_an_interface_that_does_not_do(make: Make, name: Name, segment: Segment) -> None:
    """What cannot be opened is tried again, less and less often, and opened when it can be."""
    director = make(name("vf"), AF_XDP, prefix=segment.prefix)
    snapshot(director.snapshot)
    director.start()
    segment.wire.close()
    segment.namespace.ip("link", "del", "director0")
    wait_for(director, "net_af_xdp0", {"interface": "gone"})
    segment.namespace.ip("link", "add", "director0", "mtu", "9000", "type", "veth", "peer", "name", "far0",
                         "mtu", "9000")  # fmt: skip
    for interface in ("director0", "far0"):
        segment.namespace.ip("link", "set", interface, "up")
    deadline = time.monotonic() + 10
    while "has an MTU of 9000" not in director.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "has an MTU of 9000" in director.log.read_text()
    assert port(director, "net_af_xdp0")["reopened"] == 0
    director.client.load(director.snapshot)  # control goes on
    segment.namespace.ip("link", "del", "director0")
    remake(segment)
    wait_for(director, "net_af_xdp0", {"interface": "up", "reopened": 1}, timeout_s=40)
    segment.wire.send([syn(segment.mac, 1)])
    assert len(segment.wire.receive(1)) == 1


def test_tap(make: Make, name: Name, segment: Segment) -> None:
    """The driver's own interface is made anew when somebody has deleted it, three times."""
    director = make(name("vt"), f"net_tap0,iface={TAP}", prefix=segment.prefix)
    snapshot(director.snapshot)
    director.start()
    for round_ in range(3):
        if round_:
            segment.namespace.ip("link", "del", TAP)
            wait_for(director, "net_tap0", {"vanished": round_, "reopened": round_})
        segment.namespace.sysctl(f"net.ipv6.conf.{TAP}.disable_ipv6", 1)
        segment.namespace.ip("link", "set", TAP, "up")
        wait_for(director, "net_tap0", {"interface": "up"})
        mac = str(port(director, "net_tap0")["mac"])
        with segment.namespace.entered():
            wire = Wire(TAP)
        try:
            wire.send([syn(mac, sport) for sport in range(1000, 1020)], pace_s=0.001)
            assert len(wire.receive(20)) == 20
        finally:
            wire.close()
    assert director.counters()["forwarded"] == 60
    assert director.terminate() == 0
    assert TAP not in segment.namespace.ip("link")
