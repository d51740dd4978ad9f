"""What bench/report.py makes of results, and where it puts it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import report
import results


def test_a_table_says_what_was_wanted_and_whether_it_was_met() -> None:
    rows = report.table(
        [
            results.summarise("fast", "ns", [3.0, 1.0, 2.0], 2.5),
            results.summarise("slow", "ms", [30000.0], 1),
            results.summarise("twice", "ratio", [2.5], 1.9),
            results.summarise("unbound", "packets", [0, 4], None),
        ]
    ).splitlines()[2:]
    assert rows == [
        "| `fast` | ns | 2 | 1 to 3 | 3 | ≤ 2.5: met |",
        "| `slow` | ms | 30,000 | 30,000 to 30,000 | 1 | ≤ 1: **missed** |",
        "| `twice` | ratio | 2.5 | 2.5 to 2.5 | 1 | ≥ 1.9: met |",
        "| `unbound` | packets | 2 | 0 to 4 | 2 |  |",
    ]


def test_a_part_of_the_page_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- /a -->\nbetween\n<!-- b -->\nkept\n<!-- /b -->\n")
    report.put("a", "new\nlines\n", page)
    assert page.read_text() == (
        "before\n<!-- a -->\nnew\nlines\n<!-- /a -->\nbetween\n<!-- b -->\nkept\n<!-- /b -->\n"
    )
    with pytest.raises(ValueError, match="0 parts c"):
        report.put("c", "", page)


def test_the_page_has_the_parts_that_programs_write() -> None:
    assert report.PAGE.read_text().count("<!-- operation -->") == 1


def test_results_come_back_from_their_file(tmp_path: Path) -> None:
    found = [results.summarise("fast", "ns", [3.0], None), results.summarise("slow", "ms", [3.0], 1)]
    results.write(tmp_path / "new/some.json", found)
    assert results.read(tmp_path / "new/some.json") == found
    assert [result.met for result in found] == [None, False]
