"""Echo requests to a VIP, answered by the director: the kernel's own ping judges the replies."""

import re
import time
from collections.abc import Callable

from oracle.build import IPV4, ethernet, icmp, ipv4

from dataplane.rig import VIP, Director, Segment, snapshot

AF_PACKET = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"
CLIENTS = {4: "192.0.2.77", 6: "2001:db8:ff::77"}
VIPS = {4: VIP, 6: "2001:db8::10"}

Make = Callable[..., Director]
Name = Callable[[str], str]


def become_client(segment: Segment) -> None:
    """Give the far end addresses, and the VIPs the director's MAC."""
    space = segment.namespace
    space.sysctl("net.ipv6.conf.far0.disable_ipv6", 0)
    for family, bits in ((4, 24), (6, 64)):
        flag = f"-{family}"
        extra = ("nodad",) if family == 6 else ()
        space.ip(flag, "addr", "add", f"{CLIENTS[family]}/{bits}", "dev", "far0", *extra)
        space.ip(flag, "route", "add", VIPS[family], "dev", "far0")
        space.ip(flag, "neigh", "add", VIPS[family], "lladdr", segment.mac, "dev", "far0")


def ping(segment: Segment, family: int, *options: str) -> tuple[int, int]:
    """Return requests sent and replies taken."""
    said = segment.namespace.run(
        "ping", f"-{family}", "-c", "20", "-i", "0.01", "-W", "5", *options, VIPS[family]
    )
    found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    assert found, said
    return int(found[1]), int(found[2])


def test_ping_is_answered(make: Make, name: Name, segment: Segment) -> None:
    become_client(segment)
    director = make(name("echo"), AF_PACKET, prefix=segment.prefix, forward={"icmp_echo": "answer"})
    snapshot(director.snapshot)
    director.start()
    assert ping(segment, 4) == (20, 20)
    assert ping(segment, 4, "-s", "1401", "-t", "1") == (20, 20)
    director.client.load(snapshot(director.snapshot, vip=VIPS[6], revision=2))
    assert ping(segment, 6) == (20, 20)
    assert ping(segment, 6, "-s", "1401", "-t", "1") == (20, 20)
    status = director.client.status()
    assert status.counters["echo_answered"] == 80
    assert status.counters["forwarded"] == status.counters["echo_limited"] == 0
    assert status.workers[0].tx_packets == 80


def test_no_more_than_the_rate(make: Make, name: Name, segment: Segment) -> None:
    """A flood gets the burst and hardly more; forwarding goes on."""
    forward = {"icmp_echo": "answer", "icmp_echo_rate": 1}
    director = make(name("limit"), AF_PACKET, prefix=segment.prefix, forward=forward)
    snapshot(director.snapshot)
    director.start()
    asked = ethernet(ipv4(CLIENTS[4], VIP, 1, icmp(8, 0, 7, bytes(56))), IPV4, dst=segment.mac)
    segment.wire.send([asked] * 500)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        seen = director.counters()
        if seen["echo_answered"] + seen["echo_limited"] == 500:
            break
    assert seen["echo_answered"] + seen["echo_limited"] == 500
    assert 32 <= seen["echo_answered"] <= 32 + 30  # a burst, and 30 s at the most
