"""What it takes to make row tables and to load snapshots, in ms of wall clock, which is what one waits for.

compile-…: a configuration to a snapshot's bytes, one service of 65536 rows with two hops, through glbpy, as
the controller does it; compile-incremental: the same for 1,000 backends of which one has just been added or
removed. maglev-…: the population alone. load-10k-services: what a running forwarder says of reading and
checking a file that is in the page cache (`load_us`).

    bench/builds.py [NAME ...] [--rounds 5]
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle

import results
from cases import CASES, Case, Stock, config
from cost import Failed, Running, director, say, work_folder

from glbpy import _native as native

TARGETS = {
    "compile-256": 35.0,
    "compile-1000": 130.0,
    "compile-incremental": 5.0,
    "maglev-65537-1000": 1.4,
    "maglev-655373-10000": 40.0,
    "load-10k-services": 20.0,
}
FEW = Case("load", 0, flows=1000)

Step = Callable[[], float]  # a round: returns ms


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def one_service(backends: int) -> native.ConfigInput:
    return config(Case("compile", 0, services=1, tables=1, backends=backends))


def compile_full(backends: int) -> Step:
    wanted = one_service(backends)
    return lambda: timed(lambda: native.compile_snapshot(wanted))


def compile_incremental() -> Step:
    """In turn with 1,001 and 1,000 backends: each has one more or less than the one before."""
    more = one_service(1001)
    less = replace(more, pools=(replace(more.pools[0], backends=more.pools[0].backends[:-1]),))
    turns, tables = cycle((more, less)), native.TableCache()

    def step() -> float:
        wanted = next(turns)
        return timed(lambda: native.compile_snapshot(wanted, cache=tables))

    return step


def populate(rows: int, backends: int) -> Step:
    rng = random.Random(1)
    wanted = native.ffi.new("struct glb_maglev_backend[]", backends)
    for backend in wanted:
        backend.offset, backend.skip, backend.weight = rng.randrange(rows), rng.randrange(1, rows), 1
    out = native.ffi.new("uint16_t[]", rows)

    def work() -> None:
        if native.lib.glb_maglev_populate(wanted, backends, rows, out) != 0:
            raise Failed("out of memory for a Maglev table")

    return lambda: timed(work)


@contextmanager
def loads(stock: Stock) -> Iterator[Step]:
    """A forwarder that loads 10,000 services with 100 row tables: two files in turn."""
    many = next(case for case in CASES if case.name == "services-10k")
    files = [stock.snapshot(many), stock.snapshot(many, source_bits_v4=24)]
    document = director(stock.folder, files[0], [stock.packets(FEW)], FEW.flows, forward={
        "outer_source_v4": "172.16.0.1", "gateway_mac": "02:00:00:00:00:fe", "filter_mac": False,
        "idle": "adaptive", "mtu": 0,
    })  # fmt: skip
    turns = cycle(files)
    with Running(stock.folder, document) as running:
        yield lambda: running.client.load(next(turns)).load_us / 1e3


def measure(stock: Stock, rounds: int, names: Sequence[str] = tuple(TARGETS)) -> list[results.Result]:
    """All in turn, in each round."""
    steps: dict[str, Step] = {
        "compile-256": compile_full(256),
        "compile-1000": compile_full(1000),
        "compile-incremental": compile_incremental(),
        "maglev-65537-1000": populate(65537, 1000),
        "maglev-655373-10000": populate(655373, 10000),
    }
    took: dict[str, list[float]] = {name: [] for name in names}

    def turn(chosen: dict[str, Step]) -> None:
        for name, step in chosen.items():
            took[name].append(step())
            say(f"{name} round {len(took[name])}: {took[name][-1]:.2f} ms")

    chosen = {name: step for name, step in steps.items() if name in names}
    for step in chosen.values():
        step()  # pages that are touched for the first time are not what is measured
    for _ in range(rounds):
        turn(chosen)
    if "load-10k-services" in names:
        with loads(stock) as step:
            step()
            for _ in range(rounds):
                turn({"load-10k-services": step})
    return [results.summarise(name, "ms", took[name], TARGETS[name]) for name in names]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(TARGETS))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if unknown := set(options.names) - set(TARGETS):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    with work_folder() as folder:
        for result in measure(Stock(folder), options.rounds, options.names or tuple(TARGETS)):
            print(results.line(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
