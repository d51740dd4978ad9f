"""A port's interface goes away, loses its link, and comes back, while the forwarder runs."""

import time
from collections.abc import Callable

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import VIP, Director, Segment, Wire, snapshot

AF_PACKET = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"


@pytest.fixture
def director(make: Callable[..., Director], name: Callable[[str], str], segment: Segment) -> Director:
    made = make(name("v"), AF_PACKET, "net_null0,no-rx=1", prefix=segment.prefix)
    snapshot(made.snapshot)
    return made.start()


def port(director: Director) -> dict[str, object]:
    ports = director.client.request({"version": 1, "command": "status"})["ports"]
    (found,) = (each for each in ports if each["name"] == "net_af_packet0")
    assert isinstance(found, dict)
    return found


def wait_for(director: Director, interface: str, timeout_s: float = 15) -> dict[str, object]:
    deadline = time.monotonic() + timeout_s
    while (seen := port(director))["interface"] != interface and time.monotonic() < deadline:
        time.sleep(0.05)
    assert seen["interface"] == interface
    return seen


def forwards(segment: Segment, mac: str) -> bool:
    frame = ethernet(ipv4("192.0.2.77", VIP, 6, tcp(1024, 80)), IPV4, dst=mac)
    segment.wire.send([frame])
    return len(segment.wire.receive(1, 2)) == 1


def test_link_goes_down_and_up(director: Director, segment: Segment) -> None:
    assert wait_for(director, "up")["vanished"] == 0
    segment.namespace.ip("link", "set", "director0", "down")
    wait_for(director, "down")
    segment.namespace.ip("link", "set", "director0", "up")
    seen = wait_for(director, "up")
    assert (seen["vanished"], seen["reopened"]) == (0, 0)
    forwards(
        segment, segment.mac
    )  # the driver may lose one: its socket still has the news that the link was down
    assert port(director)["tx_errors"] in (0, 1)
    assert all(forwards(segment, segment.mac) for _ in range(3))


def test_interface_is_deleted_and_made_again(director: Director, segment: Segment) -> None:
    """Three times, with another MAC each time; counters go on, and nothing crashes."""
    for round_ in range(1, 4):
        assert forwards(segment, segment.mac)
        segment.wire.close()
        segment.namespace.ip("link", "del", "director0")
        seen = wait_for(director, "gone")
        assert (seen["vanished"], seen["reopened"]) == (round_, round_ - 1)
        director.client.load(director.snapshot)  # control goes on
        time.sleep(0.3)
        segment.namespace.ip("link", "add", "director0", "type", "veth", "peer", "name", "far0")
        for interface in ("director0", "far0"):
            segment.namespace.sysctl(f"net.ipv6.conf.{interface}.disable_ipv6", 1)
            segment.namespace.ip("link", "set", interface, "mtu", "1600", "up")
        segment.mac = segment.namespace.run("cat", "/sys/class/net/director0/address").strip()
        with segment.namespace.entered():
            segment.wire = Wire("far0")
        seen = wait_for(director, "up")
        assert (seen["vanished"], seen["reopened"], seen["mac"]) == (round_, round_, segment.mac)
    assert forwards(segment, segment.mac)
    assert director.counters()["forwarded"] == 4
    assert "interface director0 is gone" in director.log.read_text()
    assert "interface director0 is back" in director.log.read_text()
    assert director.terminate() == 0


def test_deleted_for_good(director: Director, segment: Segment) -> None:
    segment.namespace.ip("link", "del", "director0")
    wait_for(director, "gone")
    assert director.terminate() == 0
