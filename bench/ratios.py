"""How much two lcores do in place of one.

two-workers-ratio: two run-to-completion workers, each with flows of its own and both CPUs in use, against
one. By CPU time, so that other work on the machine does not count. A loop in registers is run first, on one
CPU and on both: cores that slow each other there (threads of one core, a common limit of power) cannot tell.

pipeline-ratio: a pipeline of one receiver that steers and one worker against one run-to-completion worker,
with flow cache, 1,000,000 flows: packets forwarded a second of wall clock. The receiver also sends.

    bench/ratios.py [NAME ...] [--rounds 5] [--seconds 1]
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import results
from cases import CASES, Case, Stock
from cost import (
    RX_POOL_SPARE,
    Failed,
    Running,
    alone,
    cpu_ns,
    cpus,
    director,
    first,
    megabytes,
    polling,
    say,
    warm_up,
    work_folder,
)  # fmt: skip
from machine import prefer

ROOT = Path(__file__).resolve().parents[1]
SPIN = ROOT / "build/dev/bench/glb-bench-spin"
PIPELINE_RING = 1024
SPIN_LEAST = 0.95  # of a CPU's own speed, with the other at work
TARGETS = {"two-workers-ratio": 1.9, "pipeline-ratio": 1.3}

STRAIGHT = next(case for case in CASES if case.name == "gue-v4-100k")
CACHED = next(case for case in CASES if case.name == "cache-hit-1m")


def spin(on: Sequence[int]) -> float:
    """Rounds per ns of the slowest of these CPUs, all at work."""
    running = [
        subprocess.Popen(["taskset", "-c", str(cpu), SPIN, "500"], stdout=subprocess.PIPE, text=True)
        for cpu in on
    ]
    return min(float(each.communicate()[0]) for each in running)


def independence() -> float:
    """What is left of a CPU's speed in a register loop when the other is at work, too: 1 is all of it."""
    one, other = cpus()
    return spin((one, other)) / min(spin((one,)), spin((other,)))


def check_independence() -> float:
    found = max(independence() for _ in range(3))
    say(f"register loop on both CPUs: {found:.1%} of its speed on one")
    if found < SPIN_LEAST:
        say(f"these CPUs slow each other (below {SPIN_LEAST:.0%}): two-workers-ratio says little here")
    return found


def rate_of_workers(stock: Stock, packets: Sequence[Path], case: Case, seconds: float) -> float:
    """Packets per ns of CPU time, of all workers together: one for each file."""
    document = director(stock.folder, stock.snapshot(case), packets, case.flows)
    with Running(stock.folder, document) as running:
        tids = [tid for _, tid in sorted(polling(running.pid).items())]
        prefer(running.pid)
        alone(tids[0])
        time.sleep(0.3)
        before = running.client.status().workers, [cpu_ns(running.pid, tid) for tid in tids]
        time.sleep(seconds)
        after = running.client.status().workers, [cpu_ns(running.pid, tid) for tid in tids]
        if any(used == then for used, then in zip(after[1], before[1], strict=True)):
            raise Failed("a worker got no CPU time: something else has its CPU, at a real-time priority")
        return sum(
            (now.rx_packets - then.rx_packets) / (used - used_then)
            for now, then, used, used_then in zip(after[0], before[0], after[1], before[1], strict=True)
        )


def two_workers(stock: Stock, seconds: float) -> float:
    mine, others = stock.packets(STRAIGHT), stock.packets(replace(STRAIGHT, first=STRAIGHT.flows))
    one = rate_of_workers(stock, [mine], STRAIGHT, seconds)
    two = rate_of_workers(stock, [mine, others], STRAIGHT, seconds)
    return two / one


def rate_of_model(stock: Stock, case: Case, seconds: float, **sections: dict[str, Any]) -> float:
    """Packets forwarded a second."""
    begin, packets = stock.snapshot(case, hops=1), [stock.packets(case)]
    document = director(
        stock.folder, begin, packets, case.flows, flow_cache={"entries": case.entries}, **sections
    )
    with Running(stock.folder, document) as running:
        client = running.client
        prefer(running.pid)
        alone(first(polling(running.pid)))
        warm_up(client, "pipeline-ratio")
        client.load(stock.snapshot(case))
        time.sleep(0.2)
        before, start = client.status().counters["forwarded"], time.monotonic()
        time.sleep(seconds)
        after, end = client.status().counters["forwarded"], time.monotonic()
    return (after - before) / (end - start)


def pipeline(stock: Stock, seconds: float) -> float:
    everything, _ = cpus()
    packets = CACHED.flows + 3 * PIPELINE_RING
    model = {
        "eal": {
            "receiver_lcores": [everything], "receivers_send": True, "ring_size": PIPELINE_RING,
            "mbufs": packets + RX_POOL_SPARE,
            "args": ["--no-huge", "-m", str(megabytes(packets)), "--no-pci"],
        },
        "forward": {"run_model": "pipeline", "idle": "adaptive"},
    }  # fmt: skip
    alone_rate = rate_of_model(stock, CACHED, seconds)
    return rate_of_model(stock, CACHED, seconds, **model) / alone_rate


MEASURES = {"two-workers-ratio": two_workers, "pipeline-ratio": pipeline}


def measure(
    stock: Stock, rounds: int, seconds: float, names: Sequence[str] = tuple(TARGETS)
) -> list[results.Result]:
    found: dict[str, list[float]] = {name: [] for name in names}
    if "two-workers-ratio" in names:
        check_independence()
    for number in range(rounds):
        for name in names:
            found[name].append(MEASURES[name](stock, seconds))
            say(f"{name} round {number + 1}: {found[name][-1]:.2f}")
    return [results.summarise(name, "ratio", found[name], TARGETS[name]) for name in names]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(TARGETS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    if unknown := set(options.names) - set(TARGETS):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    with work_folder() as folder:
        chosen = options.names or tuple(TARGETS)
        for result in measure(Stock(folder), options.rounds, options.seconds, chosen):
            print(results.line(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
