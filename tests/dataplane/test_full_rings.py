"""A pipeline's lcore that stands: what is for it is dropped and counted, what is for others passes."""

import struct
from collections import defaultdict
from collections.abc import Callable

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import VIP, Director, Segment, snapshot
from dataplane.test_run_models import counters_of
from dataplane.test_watchdog import stopped, worker_thread
from glbpy import _native as native

AF_PACKET = "net_af_packet0,iface=director0,qpairs=2,framecnt=4096,blocksz=65536"
FLOWS, PACKETS, RING = 40, 20, 64
LCORES = {"worker": 1, "sender": 5}  # main, 2 workers, 2 receivers, 2 senders
REASONS = {"worker": "steer_ring_full", "sender": "tx_ring_full"}


def frame(segment: Segment, flow: int, serial: int) -> bytes:
    packet = ipv4("192.0.2.77", VIP, 6, tcp(2000 + flow, 80, struct.pack(">II", flow, serial)))
    return ethernet(packet, IPV4, dst=segment.mac)


def flows_of(frames: list[bytes]) -> dict[int, list[int]]:
    """Serial numbers by flow, as they came."""
    found = defaultdict(list)
    for each in frames:
        flow, serial = struct.unpack(">II", each[-8:])
        found[flow].append(serial)
    return found


@pytest.mark.parametrize("stage", ["worker", "sender"])
def test_the_others_go_on(
    make: Callable[..., Director], name: Callable[[str], str], segment: Segment, stage: str
) -> None:
    director = make(
        name("r"), AF_PACKET, prefix=segment.prefix, forward={"run_model": "pipeline"},
        eal={
            "args": ["--no-huge", "-m", "200", "--no-pci"], "workers": 2, "receivers": 2, "senders": 2,
            "ring_size": RING,
        },
    )  # fmt: skip
    snapshot(director.snapshot)
    director.start()
    counters = counters_of(director)
    with stopped(worker_thread(director.pid, LCORES[stage])):
        for serial in range(PACKETS):
            segment.wire.send((frame(segment, flow, serial) for flow in range(FLOWS)), pace_s=0.0005)
        going_on = flows_of(segment.wire.receive(FLOWS * PACKETS, timeout_s=3))
        dropped = director.counters()[REASONS[stage]]
    assert 5 < len(going_on) < FLOWS - 5
    assert all(serials == list(range(PACKETS)) for serials in going_on.values())
    standing = FLOWS * PACKETS - len(going_on) * PACKETS
    assert standing - 3 * RING <= dropped < standing  # some wait in the rings in front of it
    waited = flows_of(segment.wire.receive(standing - dropped, timeout_s=2))
    assert set(waited).isdisjoint(going_on)
    assert all(serials == sorted(serials) for serials in waited.values())
    assert director.terminate() == 0
    totals = native.read_counters(counters)
    reasons = totals.reasons
    assert totals.rx_packets == sum(reasons.values())
    assert reasons["forwarded"] == len(going_on) * PACKETS + sum(map(len, waited.values()))
    assert sum(reasons[each] for each in ("forwarded", *REASONS.values())) == FLOWS * PACKETS
