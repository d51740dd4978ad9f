"""tests/README.md names every directory, and tests that there are."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
TEXT = (TESTS / "README.md").read_text()


def test_every_directory_is_explained() -> None:
    explained = set(re.findall(r"^\| `tests/(\w+)` \|", TEXT, re.MULTILINE))
    assert explained == {path.name for path in TESTS.iterdir() if path.is_dir() and path.name[0] not in "._"}


def test_every_counterpart_is_there() -> None:
    named = re.findall(r"`(\w+/\w+\.py)::(\w+)`", TEXT)
    assert len(named) >= 100
    for file, test in named:
        assert f"def {test}(" in (TESTS / file).read_text(), f"{file}::{test}"
    in_c = re.findall(r"`(\w+\.c)::(\w+)`", TEXT)
    assert len(in_c) >= 15
    for file, test in in_c:
        text = (TESTS.parent / "native/tests" / file).read_text()
        assert f"static void {test}(void)" in text, f"{file}::{test}"
        assert f"{test}()" in text or f"({test})" in text or f", {test}" in text, f"{file}::{test} is not run"


def test_each_of_vpps_cases_has_one() -> None:
    """21 of test_lb.py, 4 of test_lb_api.py."""
    rows = [line.split("|") for line in TEXT.splitlines() if line.startswith("| `test_lb_")]
    cases = [case for row in rows for case in re.findall(r"`(test_lb_\w+)`", row[1])]
    assert len(cases) == len(set(cases)) == 25
    assert all("::" in row[3] for row in rows)


def test_each_of_katrans_fixture_files_has_one() -> None:
    section = TEXT.split("## Katran's cases\n")[1].split("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith(("| `", "| |"))]
    files = {file for row in rows for file in re.findall(r"`(\w+)`", row[1])}
    assert files == {
        "Base", "Gue", "IcmpTooBig", "LpmSrcLookup", "CidrVip", "UdpStableRt", "UdpFlowMigration", "TPR",
        "HC", "DecapStats", "EgressDecap", "XPopDecap", "XdpDecap", "XdpDecapGue", "TcSrcMatch",
    }  # fmt: skip
    assert all("::" in row[3] for row in rows)
