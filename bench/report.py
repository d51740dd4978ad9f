"""The machine's facts, and results as Markdown in docs/performance.md.

A part of the page belongs to a program: what is between the comments <!-- NAME --> and <!-- /NAME --> is its.
"""

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from results import Result

PAGE = Path(__file__).resolve().parents[1] / "docs/performance.md"


def facts() -> str:
    """One line: processor, CPUs, kernel, DPDK, and how busy the machine has been with other work."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.+)$", info, re.MULTILINE)
    dpdk = subprocess.run(
        ["pkg-config", "--modversion", "libdpdk"], capture_output=True, text=True, check=False
    )
    cpus = len(os.sched_getaffinity(0))
    release = platform.release().partition("-")[0]
    return (
        f"{model[1] if model else platform.machine()}, {cpus} CPUs, Linux {release}, "
        f"DPDK {dpdk.stdout.strip() or 'unknown'}, load average {os.getloadavg()[0]:.1f} at the start"
    )


def number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"


def rows(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *lines))


def table(results: Sequence[Result]) -> str:
    floors = any(one.floor_median is not None for one in results)
    columns = ["figure", "unit", "median", "lowest to highest", "rounds", "wanted"]
    columns += ["above a floor of"] if floors else []
    rows = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for one in results:
        wanted = ""
        if one.target is not None:
            bound = "≥" if one.unit == "ratio" else "≤"
            wanted = f"{bound} {number(one.target)}: {'met' if one.met else '**missed**'}"
        spread = f"{number(one.min)} to {number(one.max)}"
        row = f"| `{one.name}` | {one.unit} | {number(one.median)} | {spread} | {one.n} | {wanted} |"
        floor = "" if one.floor_median is None else number(one.floor_median)
        rows.append(f"{row} {floor} |" if floors else row)
    return "\n".join(rows)


def put(name: str, text: str, page: Path = PAGE) -> None:
    """Make ``text`` the part of the page that is called ``name``. Raises ValueError when it has none."""
    old = page.read_text()
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
    new, count = pattern.subn(lambda match: f"{match[1]}{text.strip()}\n{match[2]}", old)
    if count != 1:
        raise ValueError(f"{page} has {count} parts {name}, not one")
    page.write_text(new)
