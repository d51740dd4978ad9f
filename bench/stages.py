"""Cycles of a packet by stage of the path, from a forwarder that is built for it (build/stages).

In that build every stage ends with a reading of the clock, whose own cost is taken off: figures of single
stages are good to a cycle or so a packet, and their sum is somewhat above what the ordinary build takes, in
which stages overlap. `receive` and `send` are the drivers', which testpmd has, too.
"""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cases import Case, Stock
from cost import Failed, Running, alone, director, first, polling, warm_up

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build/stages"
PROGRAM = BUILD / "native/forwarder/glb-forwarder"
OPTIONS = ("-Dstages=true", "-Dpython=disabled", "-Dredirect=disabled", "-Dtests=false")


@dataclass(frozen=True)
class Stages:
    packets: int
    cycles: dict[str, float]  # of a packet


def build() -> None:
    """Build the forwarder with a clock in it. Raises CalledProcessError."""
    environment = os.environ | {"PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}"}
    run = partial(subprocess.run, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    if not (BUILD / "build.ninja").exists():
        run(["meson", "setup", BUILD, *OPTIONS])
    run(["ninja", "-C", BUILD, "--quiet"])


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
