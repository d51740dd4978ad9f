"""Namespaces `glbt-redir-<pid>-*` with glb-redirect attached, torn down again also after a failure."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import bpf
from . import packets as p
from .netns import Namespace, run, sweep

PROGRAM = Path(__file__).resolve().parents[2] / "build/dev/native/redirect/glb-redirect"
BPFFS = Path(f"/run/glbt-redir-{os.getpid()}-bpf")


class Redirect:
    """glb-redirect in one namespace, on one device."""

    def __init__(self, namespace: Namespace, device: str, pin_dir: Path) -> None:
        self.namespace, self.device, self.pin_dir = namespace, device, pin_dir
        self.name = namespace.name

    def call(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs `glb-redirect command …` in the namespace with the instance's pins."""
        where = ["--pin-dir", str(self.pin_dir), "--name", self.name]
        whole = ["ip", "netns", "exec", self.namespace.name, str(PROGRAM), command, *arguments, *where]
        return subprocess.run(whole, capture_output=True, text=True, check=False)

    def must(self, command: str, *arguments: str) -> str:
        done = self.call(command, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def attach(self, *arguments: str) -> None:
        self.must("attach", self.device, *arguments)

    def detach(self) -> None:
        self.must("detach", self.device, "--force")

    def status(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.must("status", self.device, "--json"))
        return report

    def counters(self) -> dict[str, int]:
        counters: dict[str, int] = self.status()["counters"]
        return counters

    def feed(self, packet: bytes, **more: int) -> tuple[bpf.Ran, str]:
        """Runs the attached program on a packet or frame; also under which reason it was counted."""
        frame = packet if packet[:6] == p.NO_MAC else p.ethernet(packet)
        before = self.status()
        with self.namespace.entered():
            ran = bpf.run_program(before["program_id"], frame, **more)
        after = self.counters()
        moved = {key: after[key] - before["counters"][key] for key in after}
        moved = {key: value for key, value in moved.items() if value}
        others = moved.pop("not_gue", 0)  # the namespace's own packets may be among them
        if not moved:
            assert others >= 1
            return ran, "not_gue"
        assert moved.pop("received") == 1
        assert list(moved.values()) == [1]
        return ran, next(iter(moved))

    def feed_egress(self, packet: bytes) -> tuple[bpf.Ran, str]:
        """The same with the program on the egress; "none" when nothing was counted."""
        shown = self.namespace.run("tc", "-j", "filter", "show", "dev", self.device, "egress")
        (program,) = {each["options"]["prog"]["id"] for each in json.loads(shown) if "options" in each}
        before = self.counters()
        with self.namespace.entered():
            ran = bpf.run_program(program, p.ethernet(packet))
        moved = {key: count - before[key] for key, count in self.counters().items() if key != "not_gue"}
        names = [key for key, count in moved.items() if count]
        assert sum(moved.values()) == len(names) <= 1
        return ran, names[0] if names else "none"


@pytest.fixture(scope="session")
def bpffs() -> Iterator[Path]:
    assert os.geteuid() == 0, "these tests make network namespaces and load eBPF: run them as root"
    sweep()
    BPFFS.mkdir()
    run("mount", "-t", "bpf", "bpf", str(BPFFS))
    yield BPFFS
    run("umount", str(BPFFS))
    BPFFS.rmdir()
