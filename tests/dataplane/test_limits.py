"""Limits of services on a real forwarder: packets a second, new flows a second."""

import time
from collections.abc import Callable

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp, udp

from dataplane.rig import VIP, Director, Segment, snapshot
from dataplane.test_echo import AF_PACKET
from glbpy import _native as native
from glbpy import counters
from glbpy.errors import GlbError

Make = Callable[..., Director]
Name = Callable[[str], str]
SYN, ACK = 2, 16


def frames(segment: Segment, count: int, flags: int, first: int = 1024) -> list[bytes]:
    """TCP packets of as many flows."""
    return [
        ethernet(ipv4("192.0.2.7", VIP, 6, tcp(first + n, 80, flags=flags)), IPV4, dst=segment.mac)
        for n in range(count)
    ]


def wait_for_all(director: Director, refused_as: str, packets: int) -> dict[str, int]:
    """Wait until that many packets were forwarded or refused."""
    deadline = time.monotonic() + 10
    while (seen := director.counters())["forwarded"] + seen[refused_as] < packets:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return seen


def refused(director: Director) -> dict[str, int]:
    """Of service 1."""
    return counters.read(str(director.run_dir / "stats")).refused.get(1, {})


def test_packets_and_new_flows(make: Make, name: Name, segment: Segment) -> None:
    """Two workers share a limit; loads in between fill no bucket; a service without limits is not held up."""
    director = make(
        name("limits"), AF_PACKET + ",qpairs=2", prefix=segment.prefix, eal={"workers": 2},
    )  # fmt: skip
    limits = native.ProtectionInput(packets_per_second=50, packets_burst=100)
    began = time.monotonic()
    snapshot(director.snapshot, protection=limits)
    director.start()
    for revision in range(2, 6):
        segment.wire.send(frames(segment, 100, ACK))
        director.client.load(snapshot(director.snapshot, protection=limits, revision=revision))
    seen = wait_for_all(director, "packets_limited", 400)
    assert seen["packets_limited"] + seen["forwarded"] == 400
    # each worker's burst is half the whole; two more of what sharing out rounds up
    assert 50 <= seen["forwarded"] <= 100 + 50 * (time.monotonic() - began) + 4
    assert refused(director)["packets_limited"] == seen["packets_limited"] > 0

    limits = native.ProtectionInput(flows_per_second=1, flows_burst=10)
    director.client.load(snapshot(director.snapshot, protection=limits, revision=7))
    before = director.counters()
    began = time.monotonic()
    segment.wire.send(frames(segment, 100, SYN))
    segment.wire.send(frames(segment, 100, ACK, first=2048))
    seen = wait_for_all(director, "flows_limited", before["forwarded"] + 200)
    syns = seen["forwarded"] - before["forwarded"] - 100
    assert syns + seen["flows_limited"] == 100
    assert 5 <= syns <= 10 + (time.monotonic() - began) + 2
    assert refused(director)["flows_limited"] == seen["flows_limited"]

    director.client.load(snapshot(director.snapshot, revision=8))
    segment.wire.send(frames(segment, 200, SYN))
    assert director.wait_for("forwarded", seen["forwarded"] + 200)["forwarded"] == seen["forwarded"] + 200


def test_new_flows_of_udp(make: Make, name: Name, segment: Segment) -> None:
    """With a flow cache: known flows go on, unknown ones are limited."""
    director = make(name("udp"), AF_PACKET, prefix=segment.prefix, flow_cache={"entries": 4096})
    limits = native.ProtectionInput(flows_per_second=1, flows_burst=5)
    snapshot(director.snapshot, protocol="udp", protection=limits, flow_cache=True)
    director.start()
    began = time.monotonic()
    packets = [
        ethernet(ipv4("192.0.2.7", VIP, 17, udp(1024 + n, 80, b"x")), IPV4, dst=segment.mac) for n in range(5)
    ]
    segment.wire.send(packets)
    director.wait_for("forwarded", 5)
    others = [
        ethernet(ipv4("192.0.2.8", VIP, 17, udp(1024 + n, 80, b"x")), IPV4, dst=segment.mac)
        for n in range(100)
    ]
    segment.wire.send(others)
    segment.wire.send(packets * 10)
    seen = director.wait_for("forwarded", 55)
    assert 55 <= seen["forwarded"] <= 55 + (time.monotonic() - began) + 1
    assert seen["forwarded"] + seen["flows_limited"] == 155


def test_no_slot_no_limits(make: Make, name: Name, segment: Segment) -> None:
    """What could not be limited is refused, and what was in force stays."""
    director = make(name("slots"), AF_PACKET, prefix=segment.prefix, stats={"service_slots": 1})
    snapshot(director.snapshot)
    director.start()
    limits = native.ProtectionInput(packets_per_second=50, packets_burst=100)
    path = snapshot(director.folder / "more.glb", services=2, protection=limits, revision=2)
    with pytest.raises(
        GlbError, match=r"service www1 has limits and no counter slot: raise stats.service_slots"
    ):
        director.client.load(path)
    assert director.client.status().revision == 1
