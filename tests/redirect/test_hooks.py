"""Where tc's programs are put: the clsact qdisc, or tcx links; from one to the other under traffic."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .conftest import PROGRAM, Redirect
from .netns import Namespace
from .test_commands import DIRECTOR, MAC, SYN, Wire, pins

NAT = ("--nat", "tcp:8080=203.0.113.11:80")
HOOKS = {"auto": "tcx", "clsact": "clsact"}


@pytest.fixture
def redirect(bpffs: Path) -> Iterator[Redirect]:
    namespace = Namespace("h")
    namespace.ip("link", "add", "eth0", "address", MAC, "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    namespace.ip("link", "set", "eth1", "up")
    redirect = Redirect(namespace, "eth0", bpffs / "glb")
    yield redirect
    redirect.call("detach", "eth0", "--force")
    namespace.delete()


def qdiscs(redirect: Redirect) -> str:
    return redirect.namespace.run("tc", "qdisc", "show", "dev", "eth0")


def links(redirect: Redirect) -> set[str]:
    return {"ingress", "egress"} & set(pins(redirect))


def send(redirect: Redirect, frames: int) -> None:
    with redirect.namespace.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth1", 0))
        for _ in range(frames):
            wire.send(p.ethernet(SYN, dst=bytes.fromhex(MAC.replace(":", ""))))
    time.sleep(0.1)


@pytest.mark.parametrize("asked", HOOKS)
def test_packets_come_in_by(redirect: Redirect, asked: str) -> None:
    redirect.attach("--allow", DIRECTOR, "--hook", asked, *NAT)
    report, hook = redirect.status(), HOOKS[asked]
    assert (report["attached"], report["hook"]) == (True, hook)
    assert report["egress_program_id"] not in (None, report["program_id"])
    assert ("clsact" in qdiscs(redirect)) == (hook == "clsact")
    assert links(redirect) == ({"ingress", "egress"} if hook == "tcx" else set())
    assert f"attached as program {report['program_id']} by {hook}, name" in redirect.must("status", "eth0")
    send(redirect, 10)
    assert redirect.counters()["local_syn"] == 10


def test_replaced_without_a_gap(redirect: Redirect) -> None:
    """By the same hook and by the other, frames all the while: none passes by, and each counts once."""
    hooks = ("tcx", "clsact", "tcx")
    redirect.attach("--allow", DIRECTOR, "--hook", "tcx")
    wire = Wire(redirect.namespace, "eth1")
    mac = bytes.fromhex(MAC.replace(":", ""))
    where = ["--pin-dir", str(redirect.pin_dir), "--name", redirect.name]
    sent, programs = 0, {redirect.status()["program_id"]}
    for hook in hooks:
        command = [str(PROGRAM), "attach", "eth0", *where, "--hook", hook]
        replacing = subprocess.Popen(["ip", "netns", "exec", redirect.namespace.name, *command])
        while replacing.poll() is None:
            wire.send(p.ethernet(SYN, dst=mac))
            sent += 1
        assert replacing.returncode == 0
        report = redirect.status()
        assert report["hook"] == hook
        assert ("clsact" in qdiscs(redirect)) == (hook == "clsact")
        assert bool(links(redirect)) == (hook == "tcx")
        programs.add(report["program_id"])
    wire.close()
    assert sent > 100
    assert len(programs) == len(hooks) + 1
    counters = redirect.counters()
    assert counters["local_syn"] == counters["received"] == sent


def test_stays_when_the_device_goes_down_and_up(redirect: Redirect) -> None:
    redirect.attach("--allow", DIRECTOR, "--hook", "tcx")
    before = redirect.status()["program_id"]
    found = json.loads(redirect.call("doctor", "eth0", "--json").stdout)["findings"]
    assert [each["status"] for each in found if each["check"] == "attached"] == ["ok"]
    redirect.namespace.ip("link", "set", "eth0", "down")
    assert redirect.status()["program_id"] == before
    redirect.namespace.ip("link", "set", "eth0", "up")
    until = time.monotonic() + 3
    while not redirect.counters()["local_syn"]:  # the other end notices a little later
        assert time.monotonic() < until
        send(redirect, 1)
    assert redirect.status()["program_id"] == before


def test_egress_goes_with_its_option(redirect: Redirect) -> None:
    redirect.attach("--hook", "tcx", *NAT)
    assert links(redirect) == {"ingress", "egress"}
    redirect.attach("--hook", "tcx")
    assert links(redirect) == {"ingress"}
    assert redirect.status()["egress_program_id"] is None


def test_detached_link_leaves_nothing(redirect: Redirect) -> None:
    redirect.attach("--hook", "tcx", *NAT)
    report = redirect.status()
    redirect.detach()
    assert pins(redirect) == []
    assert redirect.status()["hook"] is None
    for key in ("program_id", "egress_program_id"):
        until = time.monotonic() + 5
        while not subprocess.run(
            ["bpftool", "prog", "show", "id", str(report[key])], capture_output=True, check=False
        ).returncode:
            assert time.monotonic() < until, key
            time.sleep(0.05)


def test_links_of_a_device_that_is_gone(redirect: Redirect) -> None:
    """Their program is not loaded for ever, and nobody takes it for attached."""
    redirect.attach("--allow", DIRECTOR, "--hook", "tcx")
    redirect.feed(SYN)
    redirect.namespace.ip("link", "del", "eth0")
    assert "not attached" in redirect.must("status")
    redirect.namespace.ip("link", "add", "eth0", "address", MAC, "type", "veth", "peer", "name", "eth1")
    redirect.attach("--allow", DIRECTOR)
    assert redirect.counters()["local_syn"] == 0


def test_unknown_hook(redirect: Redirect) -> None:
    done = redirect.call("attach", "eth0", "--hook", "xdp")
    assert done.returncode == 2
    assert "--hook takes clsact, tcx, auto, not xdp" in done.stderr
