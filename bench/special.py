"""Forwarders that are built for a measurement, each in a folder of its own below build/."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def program(name: str) -> Path:
    return ROOT / "build" / name / "native/forwarder/glb-forwarder"


def build(name: str, *options: str) -> None:
    """Build the forwarder alone, with these options of meson's. Raises CalledProcessError."""
    folder = ROOT / "build" / name
    environment = os.environ | {"PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}"}
    less = ("-Dpython=disabled", "-Dredirect=disabled", "-Dtests=false")
    commands = [["ninja", "-C", folder, "--quiet"]]
    if not (folder / "build.ninja").exists():
        commands.insert(0, ["meson", "setup", folder, *less, *options])
    for command in commands:
        subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
