"""Namespaces `glbt-redir-*` with glb-redirect attached, torn down again also after a failure."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import bpf
from .netns import Namespace, run

PROGRAM = Path(__file__).resolve().parents[2] / "build/dev/native/redirect/glb-redirect"
BPFFS = Path("/run/glbt-redir-bpf")


class Redirect:
    """glb-redirect in one namespace, on one device."""

    def __init__(self, namespace: Namespace, device: str, pin_dir: Path) -> None:
        self.namespace, self.device, self.pin_dir = namespace, device, pin_dir
        self.name = namespace.name

    def call(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs `glb-redirect command …` in the namespace with the instance's pins."""
        where = ["--pin-dir", str(self.pin_dir), "--name", self.name]
        prefix = ["ip", "netns", "exec", self.namespace.name, str(PROGRAM)]
        return subprocess.run([*prefix, command, *arguments, *where], capture_output=True, text=True, check=False)

    def must(self, command: str, *arguments: str) -> str:
        done = self.call(command, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def attach(self, *arguments: str) -> None:
        self.must("attach", self.device, *arguments)

    def detach(self) -> None:
        self.must("detach", self.device)

    def status(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.must("status", self.device, "--json"))
        return report

    def counters(self) -> dict[str, int]:
        counters: dict[str, int] = self.status()["counters"]
        return counters

    def feed(self, frame: bytes, *, gso_size: int = 0) -> tuple[bpf.Ran, dict[str, int]]:
        """Runs the attached program on a frame; also the counters that it moved."""
        before = self.status()
        with self.namespace.entered():
            ran = bpf.test_run(before["program_id"], frame, gso_size=gso_size)
        after = self.counters()
        moved = {key: after[key] - before["counters"][key] for key in after}
        return ran, {key: value for key, value in moved.items() if value}


@pytest.fixture(scope="session")
def bpffs() -> Iterator[Path]:
    assert os.geteuid() == 0, "these tests make network namespaces and load eBPF: run them as root"
    BPFFS.mkdir(exist_ok=True)
    if not os.path.ismount(BPFFS):
        run("mount", "-t", "bpf", "bpf", str(BPFFS))
    yield BPFFS
    run("umount", str(BPFFS))
    BPFFS.rmdir()
