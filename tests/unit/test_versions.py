"""Every program says the same version: that of the project."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from glbpy import __version__

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("program", ["glb", "glb-forwarder", "glb-redirect"])
def test_a_program_says_its_version(program: str) -> None:
    command = [str(Path(sys.executable).with_name(program)), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{program} {__version__}\n", "")


def test_it_is_the_one_that_is_written_down() -> None:
    said = re.search(r"^  version: '(.*)',$", (ROOT / "meson.build").read_text(), re.MULTILINE)
    assert said
    assert said[1] == __version__
