"""docs/matching.md, mtu.md, wrapping.md: their console blocks are run, in order, with their documents."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from glbpy import pcap

DOCS = Path(__file__).resolve().parents[2] / "docs"
# Of clients.pcap: VIPs and ports, clients of each, bytes of payload. And how many commands the page has.
PAGES = {
    "matching": ([("203.0.113.90", 443), ("203.0.113.90", 80)], 100, 0, 12),
    "mtu": ([("203.0.113.10", 80), ("203.0.113.11", 80)], 10, 1460, 4),
    "wrapping": ([(f"203.0.113.{n}", 80) for n in (10, 11, 12, 13, 15, 18, 19, 20)], 10, 0, 12),
}


def blocks(text: str, language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return found


def commands(text: str) -> list[tuple[str, str]]:
    """Return every command and what it shows; ``...`` stands for anything."""
    found = []
    for block in blocks(text, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.replace("\\\n", "").partition("\n")
            found.append((command, output.rstrip("\n")))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_the_console_blocks_show_what_happens(tmp_path: Path, page: str) -> None:
    text = (DOCS / f"{page}.md").read_text()
    for block in blocks(text, "yaml") + blocks(text, "toml"):
        (tmp_path / block.split("\n", 1)[0].removeprefix("# ")).write_text(block)
    services, clients, payload, least = PAGES[page]
    frames = [
        ethernet(ipv4(f"192.0.2.{n}", vip, 6, tcp(40000, port, bytes(payload))), IPV4)
        for vip, port in services
        for n in range(clients)
    ]
    pcap.write(tmp_path / "clients.pcap", frames, range(len(frames)))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    assert len(commands(text)) >= least
    wrong = []
    for command, expected in commands(text):
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environment
        )
        shown = "\n".join(line.rstrip() for line in done.stdout.splitlines())
        pattern = ".*".join(re.escape(piece) for piece in expected.split("..."))
        if not re.fullmatch(pattern, shown, re.DOTALL):
            wrong.append(f"$ {command}\n{shown}\n{done.stderr}")
    assert not wrong, "\n".join(wrong)
