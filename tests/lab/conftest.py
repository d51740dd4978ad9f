"""Labs for tests. Their names carry the checkout, so that several checkouts can test at once."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glbpy.lab import backend as programs
from glbpy.lab import topology
from glbpy.lab.rundir import RunDir


@pytest.fixture(scope="session")
def lab_name() -> Callable[[str], str]:
    checkout = zlib.crc32(str(Path(__file__).resolve()).encode())
    return lambda purpose: f"t{checkout:08x}-{purpose}"


@pytest.fixture(scope="module")
def wires(lab_name: Callable[[str], str]) -> Iterator[str]:
    """The lab's network and two backends without a balancer: the router sends the VIPs to backend1."""
    name = lab_name("wires")
    run = RunDir(name)
    with run.locked():
        run.remove()
        topology.build_core(name)
        backends = [topology.Backend(name, number) for number in (1, 2)]
        for each in backends:
            topology.build_backend(each)
            programs.start(each, run.path / each.name)
        for each in backends:
            programs.wait_ready(each, run.path / each.name)
        topology.route_vips(name, backends[0].address4, backends[0].address6)
        yield name
        run.remove()
        assert not any(run.traces().values())
