"""Where the instructions of a packet are, by stage of the straight path, and how far away its memory is.

valgrind's callgrind counts, as a replay forwards a case's packets once and twice, in a build with debugging
information (build/account), which says of each instruction which function it was before inlining. What is
counted is what compare.py counts. Beside it, caches of the first and second level are simulated: a miss is a
line that had to come from further away, whether or not it was prefetched, and so waited for.

    bench/account.py [NAME ...] [--flows 50000] [--functions] [--page]

--page puts a table into docs/performance.md.
"""

import argparse
import re
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import callgrind
import compare
import report
import special
from cases import CASES, SYN, Case, Stock, choose
from cost import work_folder

PROGRAM = special.program("account")
FIRST_LEVEL, SECOND_LEVEL = "32768,8,64", "524288,8,64"  # bytes, ways, bytes of a line
OPTIONS = ("--dump-instr=yes", "--cache-sim=yes", f"--D1={FIRST_LEVEL}", f"--LL={SECOND_LEVEL}")
SHOWN = (
    "gue-v4-100k", "gue-v6-100k", "hash4-100k", "hops4-100k", "cache-hit-100k", "cache-new-1m",
    "services-10k", "backends-1k", "gre-100k", "l3dsr-100k", "nat-100k",
)  # fmt: skip

# The first that matches a function, or the file of the outermost one, from the outside in.
STAGES = (
    ("describe", r"describe|first_words"),
    ("count", r"count_traffic|hand_on_count"),
    ("write", r"finish|fast_(gue|tunnel|wrap6|rewrite|write|cache_write)|(write|wrap)_\w+"),
    ("siphash", r"siphash_burst"),
    ("hash_flows", r"fast_hash|hash_kinds?|put_message"),
    ("recall", r"fast_cache_ask|find_asked"),
    ("remember", r"fast_cache_join|.*fast_cache\.c|.*flow_cache\.c|.*path_flow\.c"),
    ("find_slots", r"parse_v[46]|measure|read_slots_v[46]|all_long|check_macs|fill|put_tables"),
    ("find_rows", r"find_(odd_)?rows|find_pairs"),
    ("choose", r"select_\w+|find_next_hops|fit|are_on_link|count_further"),
)  # fmt: skip
OTHERS = "loop"
NAMES = (*(name for name, _ in STAGES), OTHERS)
NAMED = re.compile(r"\((\d+)\)(?: (.*))?")


@dataclass(frozen=True)
class Account:
    """Of a packet, by stage."""

    instructions: Counter[str]
    misses: Counter[str]  # of the first level
    far: Counter[str]  # of the second one, too
    functions: Counter[str]


def by_address(text: str, program: str) -> dict[int, Counter[str]]:
    """Return what callgrind has counted (--dump-instr=yes) in the object whose path ends in ``program``."""
    cost: dict[int, Counter[str]] = defaultdict(Counter)
    objects: dict[str, str] = {}
    events: list[str] = []
    own = call = False
    address = 0
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key in ("ob", "cob") and (found := NAMED.fullmatch(value)):
            if found[2]:
                objects[found[1]] = found[2]
            if key == "ob":
                own = objects[found[1]].endswith(program)
        elif key == "calls":
            call = True
        elif line.startswith("events:"):
            events = line.split()[1:]
        elif line and line[0] in "0123456789+-*":
            where, _, *counts = line.split()
            if where[0] in "+-":
                address += int(where, 0)
            elif where != "*":
                address = int(where, 0)
            if own and not call:
                cost[address].update(dict(zip(events, map(int, counts), strict=False)))
            call = False
    return cost


def functions_at(addresses: list[int]) -> dict[int, list[str]]:
    """Return file of the outermost function, and functions from the outside in, of each address."""
    text = "\n".join(map(hex, addresses))
    done = subprocess.run(
        ["addr2line", "-a", "-f", "-i", "-e", PROGRAM], input=text, capture_output=True, text=True, check=True
    )
    found: dict[int, list[str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("0x"):
            chain = found[int(line, 16)] = []
        else:
            chain.append(line)  # a function, then its file, from the inside out
    return {
        at: [chain[-1].rpartition(":")[0], *(name.partition(".")[0] for name in chain[-2::-2])]
        for at, chain in found.items()
    }


def stage_of(chain: list[str]) -> str:
    for name in [*chain[1:], chain[0]]:
        for stage, pattern in STAGES:
            if re.fullmatch(pattern, name):
                return stage
    return OTHERS


def count(stock: Stock, case: Case, flows: int) -> Account:
    """Of the packets of ``flows`` flows, which the caches have seen once before, unless all are new ones.

    Of hits, of few flows: valgrind is slow, and with many of them each packet would be its flow's first in
    its second, for which the time is written.
    """
    flows = min(flows, compare.FLOWS) if case.hit == 1 else flows
    few = replace(case, flows=flows)
    parts = [stock.packets(few)] * 2
    if case.hit == 0:
        parts[1] = stock.packets(replace(few, first=flows))
    elif case.hit == 1:
        parts.insert(0, stock.packets(replace(few, flags=SYN)))
    short = compare.join(stock.folder / "short.pcap", parts[:-1])
    long = compare.join(stock.folder / "long.pcap", parts)
    before, after = (
        by_address(callgrind.replay(stock, few, packets, PROGRAM, *OPTIONS).read_text(), compare.PROGRAM)
        for packets in (short, long)
    )
    found = Account(Counter(), Counter(), Counter(), Counter())
    for at, chain in functions_at(list(after)).items():
        more = {event: (n - before[at][event]) / flows for event, n in after[at].items()}
        stage = stage_of(chain)
        found.instructions[stage] += more.get("Ir", 0)
        found.misses[stage] += more.get("D1mr", 0) + more.get("D1mw", 0)
        found.far[stage] += more.get("DLmr", 0) + more.get("DLmw", 0)
        found.functions["/".join(chain[1:])] += more.get("Ir", 0)
    return found


def cell(account: Account, stage: str) -> str:
    """Return instructions, and lines from the second level and from behind it, where there are any."""
    text = f"{account.instructions[stage]:.1f}"
    near, far = account.misses[stage], account.far[stage]
    return text if near < 0.05 else f"{text} ({near:.1f}, {round(far, 1) + 0.0:.1f})"


def page(found: dict[str, Account]) -> str:
    """Return a Markdown table: a column for each case, a row for each stage."""
    rows = [[stage, *(cell(one, stage) for one in found.values())] for stage in NAMES]
    for name, field in (("all", "instructions"), ("lines", "misses"), ("of these far", "far")):
        digits = 0 if field == "instructions" else 1
        rows.append([name, *(f"{sum(getattr(one, field).values()):.{digits}f}" for one in found.values())])
    return report.rows(["", *found], rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(case.name for case in CASES))
    parser.add_argument("--flows", type=int, default=50_000)
    parser.add_argument("--functions", action="store_true", help="also show in which functions they are")
    parser.add_argument("--page", action="store_true", help="put a table into docs/performance.md")
    options = parser.parse_args()
    chosen = choose(parser, options.names or SHOWN)
    found: dict[str, Account] = {}
    special.build("account", "-Ddebug=true")
    with work_folder() as folder:
        stock = Stock(folder)
        for case in chosen:
            account = found[case.name] = count(stock, case, options.flows)
            print(f"{case.name}, of a packet: instructions (lines from L2 and beyond, from beyond L2)")
            for stage in NAMES:
                print(f"    {stage:12} {cell(account, stage)}", flush=True)
            for name, instructions in account.functions.most_common() if options.functions else ():
                if instructions >= 0.4:
                    print(f"        {instructions:7.1f} {name}")
    if options.page:
        report.put("account", page(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
