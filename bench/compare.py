"""Has the packet path become slower? Instructions of a packet, by valgrind, against bench/baseline.json.

    bench/compare.py [NAME ...] [--write] [--no-time] [--functions]

A replay runs the whole forwarder on a short file and on a longer one under callgrind; the difference is what
the further packets cost in the worker, without DPDK's libraries. It is the same in every run, also on a busy
machine, and 2 % more is a regression: exit code 1. The time beside it is one short round of cost.py, good for
an impression only, and not kept. valgrind offers AVX2 at most, so code for wider vectors is not what is
counted, on no machine.

--write makes the result the baseline, --functions shows where the instructions are.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import callgrind
from cases import CASES, SYN, Case, Stock, choose
from cost import Failed, Measured, work_folder

from glbpy import forwarder
from glbpy.errors import ForwarderError

BASELINE = Path(__file__).resolve().parent / "baseline.json"
PROGRAM = "/glb-forwarder"
WORSE = 0.02
FLOWS, TIMES = 1024, 4  # the longer file has the packets of the short one and these so many times more
COUNTED_PACKETS = FLOWS * TIMES
COUNTED_ROWS = 1024
HEADER = 24  # of a capture
SAME = ("gue-v4-1k", "gue-v4-1m", "cache-hit-1m")  # others differ from these in the number of flows only


@dataclass(frozen=True)
class Baseline:
    """Without times, which are a machine's and an hour's."""

    compiler: str
    instructions: dict[str, float]  # of a packet, by case


def read(path: Path) -> Baseline:
    """Raises OSError, ValueError or TypeError: not such a file."""
    data = json.loads(path.read_text())
    return Baseline(**data)


def write(path: Path, baseline: Baseline) -> None:
    path.write_text(json.dumps(asdict(baseline), indent=1) + "\n")


def compiler() -> str:
    done = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


# ---- counting ----


def join(path: Path, parts: Iterable[Path]) -> Path:
    """Write the packets of all these captures into one."""
    contents = [part.read_bytes() for part in parts]
    path.write_bytes(contents[0][:HEADER] + b"".join(content[HEADER:] for content in contents))
    return path


def files(stock: Stock, case: Case) -> tuple[Path, Path]:
    """Return a short capture and a longer one. Where flows are remembered, they become known in both."""
    if case.hit == 0:  # all flows are new ones
        more = [stock.packets(replace(case, first=n * FLOWS)) for n in range(1 + TIMES)]
    else:
        more = [stock.packets(case)] * (1 + TIMES)
    if case.hit == 1:
        more.insert(0, stock.packets(replace(case, flags=SYN)))
    short = join(stock.folder / "short.pcap", more[:-TIMES])
    return short, join(stock.folder / "long.pcap", more)


def count(stock: Stock, case: Case) -> Counter[str]:
    """Return instructions by function of COUNTED_PACKETS packets."""
    entries = {None: 0, 0: FLOWS, 1: 8 * FLOWS}[case.hit]
    few = replace(case, flows=FLOWS, rows=COUNTED_ROWS, entries=entries)
    short, long = files(stock, few)
    program = forwarder.find_program().resolve()
    before, after = (
        callgrind.read(callgrind.replay(stock, few, packets, program), PROGRAM) for packets in (short, long)
    )
    return Counter({name: after[name] - before[name] for name in after})


def print_functions(found: Counter[str]) -> None:
    for name, instructions in found.most_common(20):
        if instructions / COUNTED_PACKETS >= 0.5:
            print(f"    {instructions / COUNTED_PACKETS:7.1f} {name}")


# ---- comparing ----


def change(before: float | None, now: float) -> float | None:
    return None if before is None else now / before - 1


def is_worse(before: float | None, now: float) -> bool:
    found = change(before, now)
    return found is not None and found > WORSE


def row(name: str, before: float | None, now: float, ns: float | None) -> str:
    """Return a line of the comparison: instructions, and the time of now."""
    found = change(before, now)
    then = f"{before:7.1f}" if before else "   none"
    percent = "" if found is None else f"{found:+7.1%}"
    verdict = "  REGRESSION" if is_worse(before, now) else ""
    return f"{name:16} {then} {now:7.1f} {percent:8} {'-' if ns is None else f'{ns:.1f}':>7}{verdict}"


HEADING = f"{'':16} {'instructions a packet':24} {'ns':>7}\n{'':16} {'before':>7} {'now':>7}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [case.name for case in CASES if case.name not in SAME]
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(names))
    parser.add_argument("--write", action="store_true", help="make this the baseline")
    parser.add_argument("--no-time", action="store_true", help="count only")
    parser.add_argument("--functions", action="store_true", help="also show where the instructions are")
    options = parser.parse_args()
    chosen = choose(parser, options.names or names, [case for case in CASES if case.name not in SAME])
    old = read(BASELINE) if BASELINE.exists() else Baseline(compiler(), {})
    if old.compiler != compiler():
        print(f"the baseline is {old.compiler}'s, this is {compiler()}: differences may be theirs")
    found: dict[str, float] = {}
    print(HEADING)
    with work_folder() as folder:
        stock = Stock(folder)
        for case in chosen:
            try:
                counted = count(stock, case)
                ns = None if options.no_time else one_round(stock, case)
            except (Failed, ForwarderError, FileNotFoundError) as error:
                raise SystemExit(str(error)) from error
            found[case.name] = round(counted.total() / COUNTED_PACKETS, 2)
            print(row(case.name, old.instructions.get(case.name), found[case.name], ns), flush=True)
            if options.functions:
                print_functions(counted)
    if options.write:
        kept = {} if old.compiler != compiler() else old.instructions
        write(BASELINE, Baseline(compiler(), kept | found))
    return 1 if any(is_worse(old.instructions.get(name), now) for name, now in found.items()) else 0


def one_round(stock: Stock, case: Case) -> float:
    measured = Measured(replace(case, flows=min(case.flows, 100_000), hit=None), stock)
    measured.round(0.3)
    return round(measured.added[0], 1)


if __name__ == "__main__":
    sys.exit(main())
