"""What an idle forwarder costs, and how soon it forwards the first packet after a pause: both idle modes.

Run as root: .venv/bin/python bench/idle.py [--seconds 5] [--packets 200] [--prefer]. A forwarder on a veth
(net_af_packet) gets nothing for some seconds: CPU time of all its threads. Then single packets, each after a
pause at random of 0.1 to 0.15 s, by when it sleeps as long as it ever does. The kernel's own timestamps of
the packet on its way in and on its way out are compared: no program is in between but the forwarder. The one
that sends stays on the first CPU, the workers on the last. With every packet, the kernel is asked how long
the lcores had to wait for a CPU that others used meanwhile; less than 0.1 ms is undisturbed.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import results  # noqa: E402
from dataplane.first_packet import first_packets_us  # noqa: E402
from dataplane.rig import Director, Segment, config, snapshot  # noqa: E402
from machine import QUIET_US, Waits, aside, prefer  # noqa: E402

from glbpy import forwarder  # noqa: E402

AF_PACKET = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"
LIMIT_US = 1000
LIMIT_CORES = 0.05


@dataclass(frozen=True)
class Mode:
    run_model: str
    workers: int
    idle: str

    @property
    def name(self) -> str:
        return f"{self.run_model}-{self.workers}-{self.idle}"

    @property
    def lcores(self) -> int:
        """Those that poll."""
        return self.workers + (2 if self.run_model == "pipeline" else 0)


MODES = (
    Mode("run-to-completion", 1, "adaptive"),
    Mode("run-to-completion", 1, "busy"),
    Mode("pipeline", 1, "adaptive"),
    Mode("pipeline", 4, "adaptive"),
)


@dataclass(frozen=True)
class Idle:
    mode: str
    cores: float  # CPU time by time
    median_us: float
    p90_us: float
    max_us: float
    undisturbed_max_us: float | None  # of those while whose way no lcore waited for a CPU that others used
    undisturbed: int
    within_limit: int  # packets
    packets: int


def cpu_ns(pid: int) -> int:
    """CPU time of all threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def measure(mode: Mode, seconds: float, packets: int, preferred: bool) -> Idle:
    name, allowed = f"bench-idle-{os.getpid()}", sorted(os.sched_getaffinity(0))
    eal = {"workers": mode.workers}
    if mode.lcores == 1:
        eal |= {"main_lcore": allowed[0], "worker_lcores": [allowed[-1]]}
    segment = Segment()
    with tempfile.TemporaryDirectory(prefix="glb-bench-") as work:
        folder = Path(work)
        forward = {"run_model": mode.run_model, "idle": mode.idle}
        director = Director(
            folder, config(name, folder, AF_PACKET, forward=forward, eal=eal), segment.prefix
        )
        try:
            snapshot(director.snapshot)
            director.start()
            if preferred:
                prefer(director.pid)
            time.sleep(1)
            before, start = cpu_ns(director.pid), time.monotonic_ns()
            time.sleep(seconds)
            cores = (cpu_ns(director.pid) - before) / (time.monotonic_ns() - start)
            with aside(allowed[0]):
                found = first_packets_us(segment, packets, Waits(director.pid).total_us)
        finally:
            if director.pid:
                director.kill()
            forwarder.remove_traces(name)
            segment.close()
    latency = [took for took, _ in found]
    quiet = [took for took, waited in found if waited < QUIET_US]
    return Idle(
        mode=mode.name, cores=round(cores, 4),
        median_us=round(statistics.median(latency)),
        p90_us=round(statistics.quantiles(latency, n=10)[8]),
        max_us=round(max(latency)),
        undisturbed_max_us=round(max(quiet)) if quiet else None, undisturbed=len(quiet),
        within_limit=sum(each <= LIMIT_US for each in latency), packets=len(latency),
    )  # fmt: skip


def figures(rounds: int, seconds: float, packets: int, preferred: bool) -> Iterator[results.Result]:
    """Every mode in each round. What is promised is promised of ``adaptive``."""
    found: dict[Mode, list[Idle]] = {mode: [] for mode in MODES}
    for _ in range(rounds):
        for mode, rows in found.items():
            rows.append(measure(mode, seconds, packets, preferred))
    for mode, rows in found.items():
        promised = mode.idle == "adaptive"

        def one(
            name: str, unit: str, values: Iterable[float], target: float | None, mode: Mode = mode
        ) -> results.Result:
            return results.summarise(f"{name}-{mode.name}", unit, list(values), target)

        yield one("idle", "of a core", (row.cores for row in rows), LIMIT_CORES if promised else None)
        yield one("first-packet-median", "ms", (row.median_us / 1000 for row in rows), None)
        yield one("first-packet-p90", "ms", (row.p90_us / 1000 for row in rows), None)
        yield one("first-packet-max", "ms", (row.max_us / 1000 for row in rows), 1 if promised else None)
        quiet = [row.undisturbed_max_us / 1000 for row in rows if row.undisturbed_max_us is not None]
        if quiet:
            yield one("first-packet-undisturbed-max", "ms", quiet, 1 if promised else None)
        yield one("first-packet-late", "packets", (row.packets - row.within_limit for row in rows), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5, help="to be idle (default 5)")
    parser.add_argument("--packets", type=int, default=200)
    parser.add_argument("--prefer", action="store_true", help="give the forwarder the highest priority")
    options = parser.parse_args()
    for mode in MODES:
        print(json.dumps(asdict(measure(mode, options.seconds, options.packets, options.prefer))), flush=True)


if __name__ == "__main__":
    main()
