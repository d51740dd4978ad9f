"""Pools of packet buffers in a real forwarder. Several NUMA nodes: native/tests/test_pool_plan.c."""

import contextlib
import re
from collections.abc import Callable

import pytest

from dataplane import hugepages
from dataplane.rig import Director, Segment
from dataplane.test_ports import started, syn
from dataplane.test_telemetry import ask

Make = Callable[..., Director]
Name = Callable[[str], str]


def pools(director: Director) -> list[str]:
    return re.findall(r"\d+ packet buffers of .*", director.log.read_text())


@pytest.mark.parametrize("memory", ["--no-huge", "--in-memory"])
@pytest.mark.parametrize("run_model", ["run-to-completion", "pipeline"])
def test_one_node_has_one_pool(
    make: Make, name: Name, segment: Segment, memory: str, run_model: str
) -> None:
    """Two ports, two lcores that receive, with hugepages and without: all buffers are in one pool."""
    lcores = {"receivers": 2} if run_model == "pipeline" else {"workers": 2}
    with hugepages.at_least(64) if memory != "--no-huge" else contextlib.nullcontext():
        director = started(
            make(
                name("pools"), "net_af_packet0,iface=director0,qpairs=2", "net_null0,no-rx=1",
                prefix=segment.prefix, forward={"run_model": run_model},
                eal={"args": [memory, "-m", "96", "--no-pci"], "mbufs": 4096, **lcores},
            )
        )  # fmt: skip
        assert pools(director) == ["4095 packet buffers of 2048 bytes for NUMA node 0"]
        if memory == "--no-huge":  # the other has no telemetry
            (names,) = ask(director, "/mempool/list")
            assert [name for name in names if name.startswith("glb_packets")] == ["glb_packets_0"]
        segment.wire.send([syn(7, segment.mac)])
        assert len(segment.wire.receive(1)) == 1
        assert director.terminate() == 0
