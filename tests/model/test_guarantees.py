"""docs/guarantees.md says what survives which change; here it is measured, cell by cell, and compared."""

from pathlib import Path

import pytest

from model.trial import CARRIERS, CHANGES, judge, judge_lag

PAGE = Path(__file__).parents[2] / "docs/guarantees.md"


def table() -> dict[str, list[str]]:
    """Return the page's cells by the kind of change."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows if len(row) == 11 and row[0] in CHANGES}


def test_every_change_has_a_row() -> None:
    assert list(table()) == list(CHANGES)


@pytest.mark.parametrize("change", CHANGES)
def test_what_survives(change: str) -> None:
    measured = []
    for carrier in CARRIERS.values():
        for algorithm in ("rendezvous", "maglev"):
            for flow_cache in ("off", "on"):
                words = {judge(change, algorithm, flow_cache, fields) for fields in carrier}
                assert len(words) == 1, f"not alike: {carrier}, {words}"
                measured.append(words.pop())
    measured += [judge_lag(change, algorithm) for algorithm in ("rendezvous", "maglev")]
    written = " | ".join(table()[change])
    row = " | ".join(measured)
    assert written == row, f"docs/guarantees.md should have\n| {change} | {row} |"
