"""`glb` loads what a command needs inside of that command: the rest does not wait for it."""

import subprocess
import sys

HEAVY = ("api", "asyncio", "fastapi", "glbpy._native", "httpx", "pydantic", "rich", "uvicorn", "yaml")


def test_nothing_heavy_is_loaded_before_a_command_runs() -> None:
    program = f"""
import sys
from glbpy.cli import main
main.build()
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
