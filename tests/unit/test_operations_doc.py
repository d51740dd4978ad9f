"""docs/operations.md explains every counter that there is."""

import re
from pathlib import Path

from glbpy import _native as native

PAGE = (Path(__file__).resolve().parents[2] / "docs/operations.md").read_text()
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
