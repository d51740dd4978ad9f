"""docs/operations.md explains every counter that there is."""

import re
from pathlib import Path

import pytest

from glbpy import _native as native
from glbpy import forwarder

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()
ROWS = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]+) \| ([^|]*) \|$", PAGE, re.MULTILINE)
EXPLAINED = {name: text for names, text, _ in ROWS for name in re.findall(r"`(\w+)`", names)}


def test_every_reason_is_explained() -> None:
    assert set(native.REASONS) - set(EXPLAINED) == set()


def test_every_worker_counter_is_explained() -> None:
    fields = {name for name, _ in native.ffi.typeof("struct glb_worker_stats").fields}
    assert fields - set(EXPLAINED) - {"pad", "reserved", "lcore", "role", "reasons"} == set()


def test_every_counter_of_flow_caches_is_explained() -> None:
    assert set(native.FLOW_STATS) - set(EXPLAINED) == set()


def test_every_reason_says_what_to_do() -> None:
    """`nothing` is an answer; no answer is none."""
    silent = [names for names, _, todo in ROWS if names.strip("`") in native.REASONS and not todo.strip()]
    assert silent == []


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (forwarder.PortStatus, {"rx_missed", "rx_errors", "tx_errors", "vanished", "reopened"}),
        (forwarder.PuntClassStatus, set(forwarder.PuntClassStatus.model_fields)),
        (forwarder.PuntStatus, {"from_kernel", "from_kernel_dropped"}),
        (forwarder.FlowCounters, set(forwarder.FlowCounters.model_fields)),
    ],
)
def test_counters_of_the_status_are_explained(model: type, names: set[str]) -> None:
    assert names <= set(model.model_fields)  # type: ignore[attr-defined]
    missing = {name for name in names if f"`{name}`" not in PAGE}
    assert missing == set()


def section(title: str) -> str:
    """Return the text of a chapter."""
    return PAGE.split(f"\n## {title}", 1)[1].split("\n## ", 1)[0]


def explained_checks() -> dict[str, str]:
    """Return what is to be done by check of `glb doctor`."""
    rows = [line.strip("|").split(" | ") for line in section("Is this machine fit?").splitlines()]
    return {name.strip(" `"): row[-1].strip() for row in rows if len(row) > 2 for name in row[0].split(", ")}


def checks_of_doctor() -> set[str]:
    """Return the names of the checks in the sources; an interface's begin with its name there."""
    text = "\n".join(path.read_text() for path in (ROOT / "glbpy/doctor").glob("*.py"))
    names = set(re.findall(r'Finding\(\s*"([^"]+)"', text))
    names |= set(re.findall(r'(?:Finding\(|check = )f"\{name\} ([^"]+)"', text))
    return names | set(re.findall(r'_check_release\("([^"]+)"', text))


def keys_of_needs() -> set[str]:
    """Return the keys by which the forwarder names what is missing."""
    text = "".join((ROOT / "native/forwarder" / name).read_text() for name in ("needs.c", "needs_port.c"))
    keys = set(re.findall(r'needs_add\(needs, "([a-z_.]+)"', text)) | set(
        re.findall(r'"(eal\.[a-z]+)"', text)
    )
    return keys | {found.replace("%u", "N") for found in re.findall(r'"(port\[%u\]\.\w+)"', text)}


def test_every_check_of_doctor_says_what_to_do() -> None:
    explained = explained_checks()
    known = checks_of_doctor() | keys_of_needs()
    assert {"rights", "MTU", "UDP merging", "next hops", "libglb", "port[N].punt", "eal.args"} <= known
    assert known - explained.keys() == set()
    assert [name for name in known if not explained[name]] == []
