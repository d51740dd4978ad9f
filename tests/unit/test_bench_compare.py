"""What bench/compare.py makes of counts: no valgrind, no timing."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import callgrind
import compare
import pytest
import stages
from compare import Baseline
from results import Failed

# Written as callgrind does: names once, then numbers; the cost of a call on the line behind it.
COUNTS = """\
# callgrind format
version: 1
positions: line
events: Ir
summary: 1000

ob=(1) /opt/bin/glb-forwarder
fl=(1) ???
fn=(1) worker_run
0 10
cob=(2) /usr/lib/dpdk/librte_net_pcap.so.23.0
cfn=(2) receive
calls=2 0
0 500
cfn=(3) process
calls=2 0
0 70
+3 5
cob=(3) /usr/lib/x86_64-linux-gnu/libc.so.6
cfn=(4) memcpy
calls=1 0
* 20

fn=(3)
0 30
-2 40

ob=(2)
fn=(2)
0 500

ob=(3)
fn=(4)
0 20
"""


def test_own_instructions_are_those_of_the_program_and_of_the_c_library_for_it() -> None:
    assert callgrind.own_cost(COUNTS, "/glb-forwarder") == {"worker_run": 35, "process": 70}


def test_two_percent_more_is_a_regression() -> None:
    assert not compare.is_worse(400.0, 407.9)
    assert compare.is_worse(400.0, 408.5)
    assert not compare.is_worse(400.0, 300.0)
    assert not compare.is_worse(None, 300.0)


def test_a_line_says_what_changed() -> None:
    worse = compare.row("gue-v4-100k", 400.0, 500.0, None)
    assert worse.split() == ["gue-v4-100k", "400.0", "500.0", "+25.0%", "-", "REGRESSION"]
    fresh = compare.row("nat-100k", None, 500.0, 1.04)
    assert fresh.split() == ["nat-100k", "none", "500.0", "1.0"]


def test_a_baseline_comes_back_from_its_file(tmp_path: Path) -> None:
    baseline = Baseline("cc 12", {"gue-v4-100k": 402.06, "nat-100k": 1325.4})
    compare.write(tmp_path / "baseline.json", baseline)
    assert compare.read(tmp_path / "baseline.json") == baseline


def test_the_committed_baseline_is_of_all_cases() -> None:
    names = {case.name for case in compare.CASES} - set(compare.SAME)
    assert set(compare.read(compare.BASELINE).instructions) == names


def test_stages_are_cycles_of_a_packet_without_the_clocks_own() -> None:
    log = 'info: ready\n{"packets": 320, "clock": 32, "stages": {"parse": [3520, 10], "send": [300, 10]}}\n'
    found = stages.parse(log)
    assert found.cycles == {"parse": 10.0, "send": 0.0}
    assert stages.table(found).split() == ["parse", "10.0", "all", "10.0"]
    with pytest.raises(Failed, match="no stages"):
        stages.parse("info: ready\n")


def test_the_page_has_a_row_for_each_stage_of_any_case() -> None:
    found = {"a": stages.Stages(9, {"parse": 10.0, "send": 0.01}), "b": stages.Stages(9, {"straight": 4.2})}
    assert stages.page(found, {"a": 99.6, "b": 7.0}).splitlines() == [
        "| cycles of a packet | a | b |", "| --- | --- | --- |",
        "| parse | 10.0 |  |", "| straight |  | 4.2 |", "| all | 10 | 4 |", "| instructions | 100 | 7 |",
    ]  # fmt: skip
