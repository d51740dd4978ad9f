"""Labs for tests. Their names carry the checkout, so that several checkouts can test at once."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glbpy.client import path_of
from glbpy.lab import backend as programs
from glbpy.lab import netns, topology
from glbpy.lab.lab import BACKENDS, POOL, Lab, document, forwarder_name
from glbpy.lab.rundir import RunDir
from glbpy.lab.traffic import Client

DIRECTORS = 2  # so that whatever happens, happens to two that share no state


@pytest.fixture(scope="session")
def lab_name() -> Callable[[str], str]:
    checkout = zlib.crc32(str(Path(__file__).resolve()).encode())
    return lambda purpose: f"t{checkout:08x}-{purpose}"


@pytest.fixture(scope="session")
def shared_lab(lab_name: Callable[[str], str]) -> Iterator[Lab]:
    lab = Lab(lab_name("shared"))
    lab.down()  # of a run that was killed
    lab.up(directors=DIRECTORS)
    yield lab
    lab.down()
    assert not any(lab.rundir.traces().values())


@pytest.fixture
def lab(shared_lab: Lab) -> Lab:
    """A lab as it is when it comes up, whatever the test before has done to it."""
    restore(shared_lab)
    return shared_lab


@pytest.fixture
def client(lab: Lab) -> Iterator[Client]:
    """A thread in the lab's client, from which connections come."""
    with Client(lab.state().namespaces.client) as client:
        yield client


def restore(lab: Lab) -> None:
    broken = set(lab.broken())
    for one in lab.directors():
        topology.plug(one)
        if one.number > 1 and forwarder_name(one) in broken:
            lab.start_forwarder(one.name)
    lab.route()
    if "serve" in broken:
        lab.start_serve()  # and it the forwarder of director1
    broken = set(lab.broken())
    for backend in lab.backends():
        if backend.number > BACKENDS:
            lab.remove_backend(backend.name)
        elif any(name.startswith(f"{backend.name}-") for name in broken):
            lab.revive_backend(backend.name)
    whole = document(lab.backends())
    for member in whole["pools"][0]["backends"]:
        member["state"] = "active"
    with lab.api() as api:
        written = api.post(path_of("apply"), whole)
        lab.wait_in_force(api, written["revision"])
        lab.wait_filled(api)
        wait_healthy(lab)


def wait_healthy(lab: Lab) -> None:
    """Return when every backend is healthy and every director knows."""
    with lab.api() as api:
        netns.wait_until(lambda: set(lab.health(api).values()) == {"healthy"}, f"health of {POOL}", 10)
        lab.wait_in_force(api)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A test that fails says what the lab's programs said."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("shared_lab")
    if report.failed and isinstance(lab, Lab):
        report.sections.append(("the lab's logs", lab.logs(30)))
    return report


@pytest.fixture(scope="module")
def wires(lab_name: Callable[[str], str]) -> Iterator[str]:
    """The lab's network and two backends without a balancer: the router sends the VIPs to backend1."""
    name = lab_name("wires")
    run = RunDir(name)
    with run.locked():
        run.remove()
        topology.build_core(name)
        topology.build_director(topology.Director(name, 1))
        backends = [topology.Backend(name, number) for number in (1, 2)]
        for each in backends:
            topology.build_backend(each)
            programs.start(each, run.path / each.name)
        for each in backends:
            programs.wait_ready(each, run.path / each.name)
        topology.route_vips(name, backends[:1])
        yield name
        run.remove()
    assert not any(run.traces().values())
