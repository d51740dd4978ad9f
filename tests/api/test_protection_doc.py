"""docs/protection.md: its console blocks are run, in order, against a fresh API."""

import re
import subprocess
from pathlib import Path

from tests.api.live import GLB, Serve

TEXT = (Path(__file__).parents[2] / "docs/protection.md").read_text()


def commands() -> list[tuple[str, str]]:
    """Return every command of the console blocks and what it shows; ``...`` stands for anything."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output.rstrip("\n")))
    return found


def run(command: str, folder: Path, url: str) -> str:
    done = subprocess.run(
        ["bash", "-c", f"{command} 2>&1"], cwd=folder, capture_output=True, text=True, timeout=60,
        env={"PATH": f"{GLB.parent}:/usr/bin:/bin", "GLB_URL": url, "no_proxy": "*", "COLUMNS": "120"},
    )  # fmt: skip
    return "\n".join(line.rstrip() for line in done.stdout.rstrip().splitlines())


def test_the_console_blocks_show_what_happens(tmp_path: Path) -> None:
    assert len(commands()) == 5
    server = Serve(tmp_path, "--no-forwarder")
    try:
        for command, expected in commands():
            printed = run(command, tmp_path, server.url)
            pattern = ".*".join(re.escape(piece) for piece in expected.split("..."))
            assert re.fullmatch(pattern, printed, re.DOTALL), f"{command}\n{printed}"
    finally:
        assert server.stop() == 0
