"""Whose instructions are whose, in bench/account.py: no valgrind."""

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import account
import pytest

# As callgrind writes it with --dump-instr=yes: address, line, counts.
COUNTS = """\
positions: instr line
events: Ir Dr D1mr

ob=(1) /opt/bin/glb-forwarder
fn=(1) worker_run
0x100 7 10 4 1
+4 8 5
cob=(2) /usr/lib/libc.so.6
cfn=(2) memcpy
calls=1 0
* 8 500
+2 9 3

ob=(2)
0x104 0 7
"""


def test_counts_are_the_programs_own_by_address() -> None:
    found = account.by_address(COUNTS, "/glb-forwarder")
    assert found[0x100] == {"Ir": 10, "Dr": 4, "D1mr": 1}
    assert found[0x104] == {"Ir": 5}
    assert found[0x106] == {"Ir": 3}


@pytest.mark.parametrize(
    ("chain", "stage"),
    [
        (["core/fast_burst.c", "glb_fast_run_cached", "run", "parse_v4", "load128"], "find_slots"),
        (["core/fast_burst.c", "glb_fast_run_cached", "run", "forward"], "loop"),
        (["core/fast_wrap.c", "fast_gue", "wrap_gue", "widen"], "write"),
        (["core/fast_cache.c", "flow_find"], "remember"),
        (["core/fast_cache.c", "fast_cache_ask", "put_flows"], "recall"),
        (["forwarder/worker.c", "worker_run"], "loop"),
    ],
)
def test_an_instruction_is_its_outermost_stages(chain: list[str], stage: str) -> None:
    assert account.stage_of(chain) == stage


def test_the_page_has_lines_where_there_are_any() -> None:
    one = account.Account(Counter(count=19.34, loop=4), Counter(count=3.52), Counter(count=0.51), Counter())
    rows = account.page({"services-10k": one}).splitlines()
    assert rows[0] == "|  | services-10k |"
    assert "| count | 19.3 (3.5, 0.5) |" in rows
    assert rows[-3:] == ["| all | 23 |", "| lines | 3.5 |", "| of these far | 0.5 |"]
