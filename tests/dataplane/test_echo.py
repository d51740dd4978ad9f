"""Echo requests to a VIP, answered by the director: the kernel's own ping judges the replies."""

import time
from collections.abc import Callable

from oracle.build import IPV4, ethernet, icmp, ipv4

from dataplane.rig import VIP, Director, Segment, ping, snapshot

AF_PACKET = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"
CLIENTS = {4: "192.0.2.77", 6: "2001:db8:ff::77"}
VIPS = {4: VIP, 6: "2001:db8::10"}
BURST = 32  # at once, however low the rate

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


def test_ping_is_answered(make: Make, name: Name, segment: Segment) -> None:
    become_client(segment)
    director = make(name("echo"), AF_PACKET, prefix=segment.prefix, forward={"icmp_echo": "answer"})
    snapshot(director.snapshot)
    director.start()
    asked = 0
    for family in (4, 6):
        if family == 6:
            director.client.load(snapshot(director.snapshot, vip=VIPS[6], revision=2))
        for options in ((), ("-s", "1401", "-t", "1")):
            sent, received, _ = ping(
                segment.namespace, VIPS[family], f"-{family}", *options, count=20, interval_s=0.01
            )
            assert received == 20
            asked += sent
    status = director.client.status()
    assert 80 <= status.counters["echo_answered"] <= asked
    assert status.counters["forwarded"] == status.counters["echo_limited"] == 0
    assert status.workers[0].tx_packets == status.counters["echo_answered"]


def test_no_more_than_the_rate(make: Make, name: Name, segment: Segment) -> None:
    """A flood gets the burst, and one a second from then on."""
    forward = {"icmp_echo": "answer", "icmp_echo_rate": 1}
    director = make(name("limit"), AF_PACKET, prefix=segment.prefix, forward=forward)
    snapshot(director.snapshot)
    director.start()
    asked = ethernet(ipv4(CLIENTS[4], VIP, 1, icmp(8, 0, 7, bytes(56))), IPV4, dst=segment.mac)
    began = time.monotonic()
    sent = 0
    while True:  # in pieces, and more for what a busy kernel drops in front of the port
        sent += segment.wire.send([asked] * 50)
        time.sleep(0.02)
        seen = director.counters()
        if seen["echo_answered"] + seen["echo_limited"] >= 500 or time.monotonic() > began + 20:
            break
    assert 500 <= seen["echo_answered"] + seen["echo_limited"] <= sent
    assert BURST <= seen["echo_answered"] <= BURST + 1 + time.monotonic() - began
