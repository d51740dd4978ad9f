"""Bringing labs up and taking them down, by the command line, crashes included: nothing may be left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glbpy.errors import LabError
from glbpy.lab import netns
from glbpy.lab.lab import Lab
from glbpy.process import start_time

GLB = str(Path(sys.executable).with_name("glb"))


def glb(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([GLB, *words], capture_output=True, text=True, timeout=120, check=False)


def host() -> dict[str, Any]:
    """What the machine's own network looks like; counters and the like left out."""
    links = json.loads(netns.run(["ip", "-j", "address"]))
    keys = ("ifname", "flags", "mtu", "address", "operstate")
    return {
        "links": [{key: link.get(key) for key in keys} for link in links],
        "addresses": [[info["local"] for info in link["addr_info"]] for link in links],
        "routes": netns.run(["ip", "route", "show", "table", "all"]),
        "rules": netns.run(["ip", "rule"]),
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
    }


@pytest.fixture
def other(lab_name: Callable[[str], str]) -> Iterator[Lab]:
    """Another lab, not up; taken down at the end."""
    lab = Lab(lab_name("other"))
    lab.down()
    yield lab
    lab.down()


def traces(lab: Lab) -> dict[str, Any]:
    return {kind: found for kind, found in lab.rundir.traces().items() if found}


def test_status_has_what_drives_a_lab(lab: Lab) -> None:
    done = glb("lab", "status", "--json", "--name", lab.name)
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert {key: type(value).__name__ for key, value in status.items()} == {
        "name": "str",
        "api_url": "str",
        "token": "NoneType",
        "namespaces": "dict",
        "service": "str",
        "pool": "str",
        "backends": "list",
        "vip4": "str",
        "vip6": "str",
        "port": "int",
        "driver": "str",
        "encapsulations": "list",
        "services": "list",
        "pids": "dict",
    }
    spaces = status["namespaces"]
    assert len(spaces["directors"]) == 2
    assert len(spaces["backends"]) == len(status["backends"]) == 3
    for name in (spaces["client"], spaces["router"], *spaces["directors"], *spaces["backends"]):
        assert netns.exists(name)
    for vip in (status["vip4"], f"[{status['vip6']}]"):
        url = f"http://{vip}:{status['port']}"
        curl = ["ip", "netns", "exec", spaces["client"], "curl", "-gsS", "--max-time", "10"]
        assert netns.run([*curl, f"{url}/"]).strip() in status["backends"]
        assert len(netns.run([*curl, f"{url}/slow?seconds=0.2&bytes=1000"])) == 1000


def test_status_for_people_names_every_part(lab: Lab) -> None:
    done = glb("lab", "status", "--name", lab.name)
    assert done.returncode == 0, done.stderr
    for word in ("backend2-nginx", "serve", "director2-forwarder", "running", lab.state().api_url):
        assert word in done.stdout


def test_up_on_a_running_lab_says_so(lab: Lab) -> None:
    before = lab.state()
    done = glb("lab", "up", "--name", lab.name, "--directors", "2")
    assert done.returncode == 0
    assert "already up" in done.stderr
    done = glb("lab", "up", "--name", lab.name)
    assert done.returncode == 1
    assert "up with directors: 2, not 1" in done.stderr
    assert lab.state() == before


def test_glb_talks_to_a_running_lab(lab: Lab) -> None:
    done = glb("get", "backends", "--url", lab.state().api_url)
    assert done.returncode == 0, done.stderr
    assert f"{lab.state().pool}/backend1" in done.stdout


def test_status_without_a_lab_fails(other: Lab) -> None:
    done = glb("lab", "status", "--json", "--name", other.name)
    assert (done.returncode, done.stdout) == (1, "")
    assert "glb lab up" in done.stderr


def test_bad_name_is_wrong_input() -> None:
    assert glb("lab", "up", "--name", "no_such name").returncode == 2


def test_second_lab_comes_and_goes_beside_the_first(lab: Lab, other: Lab) -> None:
    before = host()
    done = glb("lab", "up", "--name", other.name)
    assert done.returncode == 0, done.stderr
    assert host() == before
    ours, theirs = lab.state(), other.state()
    assert len(theirs.namespaces.directors) == 1
    assert ours.api_url != theirs.api_url
    for state in (ours, theirs):
        curl = ["ip", "netns", "exec", state.namespaces.client, "curl", "-sS", f"http://{state.vip4}/"]
        assert netns.run(curl).strip() in state.backends
    for attempt in ("is down", "is not there"):  # the second time there is nothing, which is fine
        done = glb("lab", "down", "--name", other.name)
        assert (done.returncode, attempt in done.stdout) == (0, True), done.stderr
    assert traces(other) == {}
    assert host() == before
    assert lab.broken() == []


def test_down_after_everything_was_killed(lab: Lab, other: Lab) -> None:
    """kill -9 of every program at once; then up again, over what is left, and down."""
    other.up()
    for name in (path.name for path in netns.NETNS.glob(f"glb-{other.name}-*")):
        for pid in netns.processes(name):
            os.kill(pid, signal.SIGKILL)
    netns.wait_until(lambda: "serve" in other.broken(), "the crash")
    done = glb("lab", "status", "--name", other.name)
    assert done.returncode == 1
    assert "serve" in done.stderr
    assert other.up()  # takes the ruins away first
    assert other.broken() == []
    assert other.down()
    assert traces(other) == {}


def test_down_after_a_namespace_has_lost_its_name(other: Lab) -> None:
    other.up()
    backend = other.backend("backend2")
    inside = netns.processes(backend.ns)
    netns.run(["ip", "netns", "delete", backend.ns])  # which leaves what runs inside running
    assert len(inside) >= 3
    assert all(start_time(pid) for pid in inside)
    assert other.down()
    assert not any(start_time(pid) for pid in inside)
    assert traces(other) == {}


def test_up_does_not_touch_a_damaged_lab_that_still_runs(lab: Lab) -> None:
    lab.kill_backend("backend3")
    done = glb("lab", "up", "--name", lab.name, "--directors", "2")
    assert done.returncode == 1
    assert "backend3-nginx" in done.stderr
    assert "glb lab down" in done.stderr
    assert lab.broken() == ["backend3-slow", "backend3-nginx"]


@pytest.mark.parametrize("after_ms", [300, 700, 1200, 2000, 3500])
def test_down_after_up_was_killed_half_way(other: Lab, after_ms: int) -> None:
    starting = subprocess.Popen([GLB, "lab", "up", "--name", other.name], stderr=subprocess.DEVNULL)
    netns.wait_until(lambda: other.path.exists() or starting.poll() is not None, "the beginning", 20)
    time.sleep(after_ms / 1000)  # not a wait for readiness: any moment must do
    starting.kill()
    starting.wait()
    done = glb("lab", "down", "--name", other.name)
    assert done.returncode == 0, done.stderr
    assert traces(other) == {}


def test_interrupted_up_cleans_up_after_itself(other: Lab) -> None:
    with subprocess.Popen([GLB, "lab", "up", "--name", other.name], stderr=subprocess.DEVNULL) as starting:
        try:
            netns.wait_until(lambda: len(traces(other).get("processes", [])) >= 3, "some programs", 60)
            done = glb("lab", "down", "--name", other.name)
            assert done.returncode == 1
            assert "another command is at work" in done.stderr
        finally:
            starting.send_signal(signal.SIGINT)
        assert starting.wait(30) != 0
    assert traces(other) == {}


def test_who_may_not_have_a_lab_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glbpy.lab.rundir.LABS", Path("/sys/kernel"))  # where nobody makes directories
    with pytest.raises(LabError, match="as root"), Lab("never").rundir.locked():
        pytest.fail("it is locked")
