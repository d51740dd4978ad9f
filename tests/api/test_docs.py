"""docs/api.md: its console blocks are run, in order, against a fresh API."""

import re
import subprocess
from pathlib import Path

from tests.api.live import Serve

TEXT = (Path(__file__).parents[2] / "docs/api.md").read_text()


def commands() -> list[tuple[str, str]]:
    """Return every command of the console blocks and what it shows; ``...`` stands for anything."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            joined = part.replace("\\\n", "")
            command, _, output = joined.partition("\n")
            found.append((command, output.rstrip("\n")))
    return found


def test_the_console_blocks_show_what_happens(tmp_path: Path) -> None:
    assert len(commands()) == 11
    server = Serve(tmp_path, "--no-forwarder")
    try:
        for command, expected in commands():
            done = subprocess.run(
                ["bash", "-c", command],
                capture_output=True,
                text=True,
                timeout=30,
                env={"PATH": "/usr/bin:/bin", "GLB_URL": server.url, "no_proxy": "*"},
            )
            pattern = ".*".join(re.escape(piece) for piece in expected.split("..."))
            assert re.fullmatch(pattern, done.stdout.strip(), re.DOTALL), (
                f"{command}\n{done.stdout}{done.stderr}"
            )
    finally:
        assert server.stop() == 0
