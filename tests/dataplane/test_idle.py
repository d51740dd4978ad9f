"""An idle forwarder sleeps, and still forwards the first packet at once (figures: bench/idle.py)."""

import statistics
from collections.abc import Callable

import pytest

from dataplane.first_packet import first_packets_us
from dataplane.rig import Director, Segment, snapshot

AF_PACKET = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"


@pytest.mark.parametrize("run_model", ["run-to-completion", "pipeline"])
def test_the_first_packet_after_a_pause(
    make: Callable[..., Director], name: Callable[[str], str], segment: Segment, run_model: str
) -> None:
    director = make(name("i"), AF_PACKET, prefix=segment.prefix, forward={"run_model": run_model})
    snapshot(director.snapshot)
    director.start()
    latency = [took for took, _ in first_packets_us(segment, 20)]
    lcores = director.client.status().workers
    assert all(lcore.sleeps > 20 for lcore in lcores)
    assert statistics.median(latency) < 5000
