"""README's ten lines do what they say, on a lab."""

import subprocess
import sys
from pathlib import Path

from glbpy.lab.lab import Lab

ROOT = Path(__file__).resolve().parents[2]


def example() -> str:
    return (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]


def test_ten_lines(lab: Lab) -> None:
    code = example().replace('"--json"', f'"--json", "--name", "{lab.name}"')
    code = code.replace(".venv/bin/glb", str(Path(sys.executable).with_name("glb")))
    assert len(code.strip().splitlines()) == 10
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [f"backend{number} active healthy" for number in (1, 2, 3)]
    assert "backend1" in lines[3]
    assert lines[4] == "200"
