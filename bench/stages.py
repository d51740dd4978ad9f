"""Cycles of a packet by stage of the path, from a forwarder that is built for it (build/stages).

In that build every stage ends with a reading of the clock, whose own cost is taken off: figures of single
stages are good to a cycle or so a packet, and their sum is somewhat above what the ordinary build takes, in
which stages overlap. `receive` and `send` are the drivers', which testpmd has, too.

    bench/stages.py [NAME ...] [--seconds 1] [--page]

--page puts them into docs/performance.md, with what a packet's instructions are (compare.py; needs valgrind).
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass

import compare
import report
import special
from cases import CASES, Case, Stock, choose
from cost import Failed, Running, alone, director, first, polling, warm_up, work_folder

PROGRAM = special.program("stages")
SHOWN = (
    "gue-v4-100k", "gue-v4-1m", "gue-v6-100k", "hash4-100k", "hops4-100k", "services-10k", "backends-1k",
    "cache-hit-100k", "cache-new-1m", "gre-100k", "l3dsr-100k", "nat-100k",
)  # fmt: skip


@dataclass(frozen=True)
class Stages:
    packets: int
    cycles: dict[str, float]  # of a packet


def parse(log: str) -> Stages:
    """Find a worker's line in what a forwarder has printed. Raises Failed: there is none."""
    for line in log.splitlines():
        if line.startswith('{"packets"'):
            found = json.loads(line)
            packets = max(found["packets"], 1)
            cycles = {
                name: max(cycles - ends * found["clock"], 0) / packets
                for name, (cycles, ends) in found["stages"].items()
            }
            return Stages(found["packets"], cycles)
    raise Failed(f"no stages in the forwarder's output: {log[-500:]}")


def measure(stock: Stock, case: Case, seconds: float) -> Stages:
    snapshot = stock.snapshot(case)
    begin = stock.snapshot(case, hops=1) if case.hit == 1 else snapshot
    document = director(
        stock.folder, begin, [stock.packets(case)], case.flows, flow_cache={"entries": case.entries}
    )
    (stock.folder / "log").unlink(missing_ok=True)
    with Running(stock.folder, document, PROGRAM) as running:
        alone(first(polling(running.pid)))
        if case.hit == 1:
            warm_up(running.client, case.name)
            running.client.load(snapshot)
        time.sleep(seconds)
    return parse((stock.folder / "log").read_text())


def table(stages: Stages) -> str:
    lines = [f"{name:14} {cycles:7.1f}" for name, cycles in stages.cycles.items() if cycles >= 0.05]
    return "\n".join([*lines, f"{'all':14} {sum(stages.cycles.values()):7.1f}"])


def page(found: dict[str, Stages], instructions: dict[str, float]) -> str:
    """Return a Markdown table: a column for each case, a row for each stage that takes a tenth of a cycle."""
    stages = dict.fromkeys(name for one in found.values() for name in one.cycles)
    rows = []
    for stage in stages:
        cycles = [one.cycles.get(stage, 0) for one in found.values()]
        if max(cycles) >= 0.1:
            rows.append([stage, *(f"{value:.1f}" if value >= 0.05 else "" for value in cycles)])
    rows.append(["all", *(f"{sum(one.cycles.values()):.0f}" for one in found.values())])
    rows.append(["instructions", *(f"{instructions[name]:.0f}" for name in found)])
    return report.rows(["cycles of a packet", *found], rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(case.name for case in CASES))
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--page", action="store_true", help="put a table into docs/performance.md")
    options = parser.parse_args()
    chosen = choose(parser, options.names or SHOWN)
    found: dict[str, Stages] = {}
    instructions: dict[str, float] = {}
    machine = report.facts()
    special.build("stages", "-Dstages=true")
    with work_folder() as folder:
        stock = Stock(folder)
        for case in chosen:
            found[case.name] = measure(stock, case, options.seconds)
            print(f"{case.name}, cycles of a packet\n{table(found[case.name])}\n", flush=True)
            if options.page:
                instructions[case.name] = compare.count(stock, case).total() / compare.COUNTED_PACKETS
    if options.page:
        report.put("stages", f"{machine}.\n\n{page(found, instructions)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
