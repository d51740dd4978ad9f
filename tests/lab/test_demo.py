"""The demonstration: as people run it, interrupted, and how it judges."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glbpy.errors import LabError
from glbpy.lab.demo import SWITCH_S, Events, Report
from glbpy.lab.lab import DETECTION_S, Lab
from glbpy.lab.topology import VIP4
from glbpy.lab.traffic import Result

GLB = str(Path(sys.executable).with_name("glb"))


@pytest.fixture
def stage(lab_name: Callable[[str], str]) -> Iterator[Lab]:
    lab = Lab(lab_name("demo"))
    lab.down()
    yield lab
    lab.down()


def test_the_whole_story_goes_well(stage: Lab) -> None:
    done = subprocess.run(
        [GLB, "lab", "demo", "--name", stage.name], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("requests answered, by backend", "0 broken", "no request failed that should not have"):
        assert words in done.stdout
    assert not any(stage.rundir.traces().values())


def test_interrupted_it_takes_the_lab_down(stage: Lab) -> None:
    showing = subprocess.Popen([GLB, "lab", "demo", "--name", stage.name], stdout=subprocess.PIPE, text=True)
    assert showing.stdout is not None
    assert "downloads" in showing.stdout.readline()
    assert stage.broken() == []
    with pytest.raises(LabError, match="another command is at work"):
        stage.down()
    showing.send_signal(signal.SIGINT)
    showing.communicate(timeout=30)
    assert showing.returncode not in (0, None)
    assert not any(stage.rundir.traces().values())


def test_on_a_running_lab_it_refuses_and_leaves_it_alone(lab: Lab) -> None:
    command = [GLB, "lab", "demo", "--name", lab.name, "--directors", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "lab of its own" in done.stderr
    assert lab.broken() == []


KILLED_AT = 100.0
EVENTS = Events(drained="backend1", killed="backend2", killed_at=KILLED_AT)


def failed(began: float, ended: float, backend: str | None) -> Result:
    return Result(VIP4, 1234, began, ended, backend, "connect: timed out")


@pytest.mark.parametrize(
    ("result", "first_hop", "allowed"),
    [
        (failed(99, 101, "backend2"), None, True),
        (failed(100.1, 105, None), "backend2", True),
        (failed(100.1, 105, None), "backend3", False),  # nobody answered, but it did not go to the dead one
        (failed(99, 101, "backend3"), "backend2", False),
        (failed(98, 99.5, "backend2"), None, False),  # failed before anybody died
        (failed(KILLED_AT + DETECTION_S + SWITCH_S + 0.1, 110, None), "backend2", False),  # should be known
    ],
)
def test_who_may_fail(result: Result, first_hop: str | None, allowed: bool) -> None:
    assert EVENTS.allows(result, lambda vip, sport: first_hop) is allowed


def report(requests: list[Result], unexpected: list[Result], strays: int) -> Report:
    return Report(EVENTS, requests, [], {}, ["backend1"], [], unexpected, strays)


def test_what_is_good() -> None:
    fine = Result(VIP4, 1, 0, 1, "backend1")
    assert report([fine], [], 0).good
    assert not report([fine], [failed(0, 1, None)], 0).good
    assert not report([fine], [], 1).good
    assert not report([], [], 0).good, "no traffic proves nothing"
