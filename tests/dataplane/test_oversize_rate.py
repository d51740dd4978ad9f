"""Senders of packets that are too big are told so at a rate; what is above it is dropped, and counted."""

import time
from collections.abc import Callable

from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import VIP, Director, Segment, snapshot
from dataplane.test_echo import AF_PACKET

Make = Callable[..., Director]
Name = Callable[[str], str]
RATE, BURST, SENT, MTU = 20, 32, 300, 1400
LEFT = MTU - 40  # GUE over IPv4, two hops


def test_no_more_than_the_rate_is_answered(make: Make, name: Name, segment: Segment) -> None:
    director = make(
        name("told"), AF_PACKET, prefix=segment.prefix, forward={"mtu": MTU, "oversize_rate": RATE}
    )
    snapshot(director.snapshot)
    director.start()
    began = time.monotonic()
    fits, large = (
        [ethernet(ipv4("192.0.2.7", VIP, 6, tcp(1024 + n, 80, bytes(size - 40))), IPV4, dst=segment.mac)
         for n in range(count)]
        for size, count in ((LEFT, 10), (LEFT + 1, SENT))
    )  # fmt: skip
    segment.wire.send([*fits, *large], pace_s=0.001)
    deadline = began + 20
    while (seen := director.counters())["oversize_answered"] + seen["oversize_limited"] < SENT:
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)
    took = time.monotonic() - began
    assert seen["forwarded"] == len(fits)
    assert seen["oversize_answered"] + seen["oversize_limited"] == SENT
    assert seen["oversize_limited"] > 0
    assert BURST <= seen["oversize_answered"] <= BURST + RATE * took + 1
