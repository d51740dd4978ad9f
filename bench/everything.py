"""Measure everything that docs/performance.md compares, side by side in one run (root).

    bench/everything.py [--quick] [--rounds 5] [--page]

Packets beside testpmd (cost.py), two lcores against one (ratios.py), tables and loads (builds.py). All cases
of packets take turns in each round. Writes bench/results/full.json, or quick.json: a list of {name, unit,
median, min, max, n, floor_median, target, met}. --page also puts the tables into docs/performance.md and
draws docs/performance.svg, for which a few more cases are measured (bench/results/sweep.json). --quick is
done in two minutes: as many rounds of packets as fit, at least one, and nothing is drawn.

What cannot be measured is reported, and the rest goes on; then the exit code is 1.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import builds
import page
import ratios
import report
import results
from cases import CASES, GUE, Case, Stock
from cost import Failed, Measured, say, summaries, work_folder
from machine import prefer
from results import Result

from glbpy.errors import ForwarderError

FOLDER = Path(__file__).resolve().parent / "results"
PROBLEMS = (Failed, ForwarderError, OSError)
QUICK_S = 100  # no further round of packets is begun when it would end later
NAMES = (*(case.name for case in CASES), "pipeline-ratio", "two-workers-ratio", *builds.TARGETS)

BASE = next(case for case in CASES if case.name == GUE)
SWEEP_ROUNDS = 3  # of what only the picture shows
EXTRA = (
    replace(BASE, name="flows-10k", flows=10_000),
    replace(BASE, name="flows-300k", flows=300_000),
    replace(BASE, name="services-100", services=100, tables=100),
    replace(BASE, name="services-1k", services=1000, tables=100),
    replace(BASE, name="backends-100", backends=100),
    replace(BASE, name="backends-300", backends=300),
)

class Failures:
    """What could not be measured so far."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def add(self, name: str, error: Exception) -> None:
        self.names.append(name)
        say(f"{name} FAILED: {error}")


def rounds_of_packets(
    cases: Sequence[Case], stock: Stock, rounds: int, seconds: float, end: float, failures: Failures
) -> list[Result]:
    """At most ``rounds``, of which at least one; no other when it would be over later than ``end``."""
    measured, took = [Measured(case, stock) for case in cases], 0.0
    for number in range(rounds):
        start = time.monotonic()
        if number > 0 and start + took > end:
            break
        for each in list(measured):
            try:
                each.round(seconds)
            except PROBLEMS as error:
                failures.add(each.case.name, error)
                measured.remove(each)
        took = time.monotonic() - start
    return summaries(measured)


def facts() -> str:
    """Machine and tools, in a line."""
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=False).stdout
    huge = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    pages = huge.read_text().split("[")[-1].split("]")[0] if huge.exists() else "none"
    return (
        f"{report.facts()}, {compiler.splitlines()[0] if compiler else 'no compiler'}, testpmd and EAL with "
        f"--no-huge, transparent huge pages: {pages}"
    )


def measure(quick: bool, rounds: int, failures: Failures) -> tuple[list[Result], list[Result]]:
    """Return the results, in the order of NAMES, and those that only the picture needs."""
    start = time.monotonic()
    found: list[Result] = []
    sweep: list[Result] = []
    seconds = 0.2 if quick else 0.5
    with work_folder() as folder:
        stock = Stock(folder)
        for name in ratios.TARGETS:
            try:
                found += ratios.measure(stock, 1 if quick else rounds, seconds, [name])
            except PROBLEMS as error:
                failures.add(name, error)
        for name in builds.TARGETS:
            try:
                found += builds.measure(stock, 3 if quick else rounds, [name])
            except PROBLEMS as error:
                failures.add(name, error)
        end = start + QUICK_S if quick else float("inf")
        found += rounds_of_packets(CASES, stock, rounds, seconds, end, failures)
        if not quick:
            sweep = rounds_of_packets(EXTRA, stock, min(rounds, SWEEP_ROUNDS), seconds, end, failures)
    return sorted(found, key=lambda result: NAMES.index(result.name)), sweep


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two minutes: bench/results/quick.json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--page", action="store_true", help="put the results into docs/performance.md")
    options = parser.parse_args()
    machine, failures, start = facts(), Failures(), time.monotonic()
    say(machine)
    if os.getloadavg()[0] > 0.5:
        say("this machine is busy with other work: expect figures that are too high, and a wide spread")
    prefer(os.getpid())
    found, sweep = measure(options.quick, options.rounds, failures)
    results.write(FOLDER / ("quick.json" if options.quick else "full.json"), found)
    if sweep:
        results.write(FOLDER / "sweep.json", sweep)
    if options.page:
        page.write(machine, found, sweep)
    for result in found:
        print(results.line(result))
    missed = sum(not result.met for result in found)
    say(f"{len(found)} of {len(NAMES)} measured in {time.monotonic() - start:.0f} s, {missed} targets missed")
    if failures.names:
        say(f"not measured: {', '.join(failures.names)}")
    return 1 if failures.names else 0


if __name__ == "__main__":
    sys.exit(main())
