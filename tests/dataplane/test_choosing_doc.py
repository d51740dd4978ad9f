"""docs/choosing.md: its console blocks are run, in order, with its document and a thousand clients' SYNs."""

import os
import re
import subprocess
import sys
from collections import Counter
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from glbpy import pcap

TEXT = (Path(__file__).resolve().parents[2] / "docs/choosing.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("choosing")
    [block] = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (found / "choosing.yaml").write_text(block)
    frames = [
        ethernet(ipv4(f"198.18.{n >> 8}.{n & 255}", "203.0.113.10", 6, tcp(40000, 80, b"")), IPV4)
        for n in range(1000)
    ]
    pcap.write(found / "clients.pcap", frames, list(range(len(frames))))
    return found


def commands() -> list[tuple[str, str]]:
    """Return every command and what it shows; ``...`` stands for anything."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.replace("\\\n", "").partition("\n")
            found.append((command, output.rstrip("\n")))
    return found


def test_the_console_blocks_show_what_happens(folder: Path) -> None:
    assert len(commands()) == 10
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command, expected in commands():
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=60,
            env={**os.environ, "PATH": path},
        )  # fmt: skip
        shown = "\n".join(line.rstrip() for line in done.stdout.splitlines())
        pattern = ".*".join(re.escape(piece) for piece in expected.split("..."))
        assert re.fullmatch(pattern, shown, re.DOTALL), f"{command}\n{done.stdout}{done.stderr}"
    firsts = Counter(str(IPv4Address(frame[30:34])) for frame in pcap.read(folder / "out.pcap").frames())
    assert firsts.keys() == {"10.0.0.11", "10.0.0.12", "10.0.0.13"}
    assert abs(firsts["10.0.0.13"] - 500) < 80
    assert abs(firsts["10.0.0.11"] - 250) < 80
