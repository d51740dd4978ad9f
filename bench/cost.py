"""What forwarding a packet costs, above what DPDK's own testpmd needs to receive, touch and send it.

Packets come from memory (net_pcap, infinite_rx, 256-byte buffers) and the driver throws away what is sent. A
round measures testpmd (macswap) and then the forwarder on the same file; the cost is the difference of the
two, CPU time of the thread of the worker by packet, which has a CPU to itself (SCHED_FIFO); all else is
on the other. Uses no network.

    bench/cost.py [NAME ...] [--rounds 5] [--seconds 1] [--json FILE]
    bench/cost.py --stages [NAME ...]
"""

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import results
from cases import CASES, Case, Stock, choose
from dataplane.rig import to_toml
from results import Failed

from glbpy import forwarder
from glbpy.errors import ForwarderError

RX_POOL_SPARE = 16384  # buffers beside those that hold the packets of the file
TESTPMD = "dpdk-testpmd"
LOCK = Path("/run/lock/glb-bench")  # held while something is measured
WARM_TIMEOUT_S = 30
HITS_WARM = 0.999  # of the packets, before a case of hits is measured
HITS_OFF = 0.05  # how far from what it should be their share may be in a measurement

def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder for a measurement's files: in memory, where there is room for a gigabyte of them.

    One measurement at a time on a machine, since each wants a CPU for itself: others wait here.
    """
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and shutil.disk_usage(shared).free > 1 << 30
    with (
        LOCK.open("w") as lock,
        tempfile.TemporaryDirectory(dir=shared if roomy else None, prefix="glb-bench-") as folder,
    ):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another measurement is running: waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(folder)


def cpus() -> tuple[int, int]:
    """The CPU of everything else, and the one of the worker."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise SystemExit("two CPUs are needed: one for the worker alone")
    return allowed[0], allowed[-1]


def megabytes(packets: int) -> int:
    """Memory for EAL: the buffers that hold the file's packets, and some."""
    return 64 + (packets + RX_POOL_SPARE) * 512 // 2**20


def director(
    folder: Path, snapshot: Path, packets: Sequence[Path], flows: int, repeat: bool = True, **sections: Any
) -> str:
    """A configuration for as many workers as there are files of packets; ``sections`` go over it.

    ``repeat``: the packets come again and again, from memory that ``flows`` of them fit into.
    """
    everything, worker = cpus()
    kept = folder / "kept.glb"  # what is loaded later takes this file's place
    shutil.copyfile(snapshot, kept)
    mbufs = (flows + RX_POOL_SPARE) * len(packets)
    sources = ",".join(f"rx_pcap={path}" for path in packets) + (",infinite_rx=1" if repeat else "")
    document: dict[str, Any] = {
        "director": {
            "name": f"bench-{os.getpid()}", "snapshot": str(kept), "run_dir": str(folder / "run"),
        },
        "forward": {
            "outer_source_v4": "172.16.0.1", "gateway_mac": "02:00:00:00:00:fe", "filter_mac": False,
            "idle": "busy", "mtu": 0,
        },
        "eal": {
            "args": ["--no-huge", "-m", str(megabytes(flows) * len(packets)), "--no-pci"],
            "workers": len(packets), "main_lcore": everything,
            "worker_lcores": [worker, everything][: len(packets)], "mbufs": mbufs, "mbuf_bytes": 128,
        },
        "stats": {"service_slots": 16384, "backend_slots": 262144},
        "port": [{"devargs": f"net_pcap0,{sources}"}],
    }  # fmt: skip
    for name, keys in sections.items():
        document[name] = {**document.get(name, {}), **keys}
    return to_toml(document)


class Running:
    """A forwarder of its own, until the end of the ``with``."""

    def __init__(self, folder: Path, document: str, program: Path | None = None) -> None:
        (folder / "director.toml").write_text(document)
        self.client = forwarder.Forwarder(folder / "run/control.sock")
        self._command = [str(program or forwarder.find_program()), "--config", str(folder / "director.toml")]
        self._log = folder / "log"

    def __enter__(self) -> "Running":
        self.pid = forwarder.start(self._command, self.client.socket_path, log=self._log, timeout_s=120)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop()
        forwarder.wait_gone(self.pid)


def polling(pid: int) -> dict[int, int]:
    """Thread ids of the lcores but the main one, by number of the lcore."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        if name.startswith("rte-worker-"):
            found[int(name.rpartition("-")[2])] = int(task.name)
    return found


def cpu_ns(pid: int, tid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[0])


def first(tids: dict[int, int]) -> int:
    return tids[min(tids)]


def alone(tid: int) -> None:
    """Give a thread its CPU."""
    os.sched_setscheduler(tid, os.SCHED_FIFO, os.sched_param(1))


def cost(pid: int, packets: Callable[[], int], seconds: float) -> float:
    """CPU time of the only polling thread by packet, in ns."""
    tid = first(polling(pid))
    alone(tid)
    time.sleep(0.2)
    before, used = packets(), cpu_ns(pid, tid)
    time.sleep(seconds)
    after, used_after = packets(), cpu_ns(pid, tid)
    if after <= before:
        raise Failed("no packet passed: see the log")
    return (used_after - used) / (after - before)


def measure_testpmd(folder: Path, packets: Path, flows: int, seconds: float) -> float:
    everything, worker = cpus()
    command = [
        "stdbuf", "-oL", TESTPMD, "-l", f"{everything},{worker}", "--file-prefix", f"glbbench{os.getpid()}",
        "--no-huge", "-m", str(megabytes(flows)), "--no-pci",
        "--vdev", f"net_pcap0,rx_pcap={packets},infinite_rx=1",
        "--", "-i", "--forward-mode=macswap", "--mbuf-size=256",
        f"--total-num-mbufs={flows + RX_POOL_SPARE}", "--no-flush-rx", "--burst=32", "--nb-cores=1",
    ]  # fmt: skip
    with (folder / "testpmd.log").open("wb") as log:
        pipe = subprocess.PIPE
        program = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True)
    assert program.stdin is not None
    assert program.stdout is not None

    def ask(line: str, until: str) -> str:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(line + "\n")
        program.stdin.flush()
        for answer in program.stdout:
            if until in answer:
                return answer
        raise Failed(f"testpmd ended: {(folder / 'testpmd.log').read_text()[-500:]}")

    def count() -> int:
        return int(ask("show port stats 0", "RX-packets:").split("RX-packets:")[1].split()[0])

    try:
        ask("start", "packet forwarding - ports")
        return cost(program.pid, count, seconds)
    finally:
        program.stdin.write("quit\n")
        program.stdin.close()
        program.stdout.read()
        program.wait(timeout=60)


def flow_counts(client: forwarder.Forwarder) -> tuple[int, int]:
    """Hits and misses of the first worker's flow cache."""
    flows = client.status().workers[0].flows
    return (flows.hits, flows.misses) if flows is not None else (0, 0)


def hit_share(client: forwarder.Forwarder, before: tuple[int, int]) -> float:
    hits, misses = (after - then for after, then in zip(flow_counts(client), before, strict=True))
    return hits / max(hits + misses, 1)


def warm_up(client: forwarder.Forwarder, name: str) -> None:
    """Wait until the flow cache knows the flows."""
    end, share = time.monotonic() + WARM_TIMEOUT_S, 0.0
    while share < HITS_WARM:
        if time.monotonic() > end:
            raise Failed(f"{name}: only {share:.1%} hits after {WARM_TIMEOUT_S} s")
        before = flow_counts(client)
        time.sleep(0.2)
        share = hit_share(client, before)


def check_forwarded(client: forwarder.Forwarder, name: str) -> None:
    wrong = {reason: n for reason, n in client.status().counters.items() if n and reason != "forwarded"}
    if wrong:
        raise Failed(f"{name}: not all was forwarded: {wrong}")


def measure_forwarder(folder: Path, case: Case, stock: Stock, seconds: float) -> float:
    snapshot = stock.snapshot(case)
    begin = stock.snapshot(case, hops=1) if case.hit == 1 else snapshot
    document = director(
        folder, begin, [stock.packets(case)], case.flows, flow_cache={"entries": case.entries}
    )
    with Running(folder, document) as running:
        client = running.client
        alone(first(polling(running.pid)))
        if case.hit == 1:
            warm_up(client, case.name)
            client.load(snapshot)
        before = flow_counts(client)
        took = cost(running.pid, lambda: client.status().workers[0].rx_packets, seconds)
        share = hit_share(client, before)
        if case.hit is not None and abs(share - case.hit) > HITS_OFF:
            raise Failed(f"{case.name}: {share:.1%} of the packets hit the cache, not {case.hit:.0%}")
        check_forwarded(client, case.name)
    return took


class Measured:
    """A case's rounds so far: floors, and what the forwarder took above them."""

    def __init__(self, case: Case, stock: Stock) -> None:
        self.case, self.stock = case, stock
        self.floors: list[float] = []
        self.added: list[float] = []

    def round(self, seconds: float) -> None:
        packets = self.stock.packets(self.case)
        try:
            floor = measure_testpmd(self.stock.folder, packets, self.case.flows, seconds)
            added = measure_forwarder(self.stock.folder, self.case, self.stock, seconds) - floor
        except ForwarderError as error:
            raise Failed(str(error)) from error
        self.floors.append(floor)
        self.added.append(added)
        say(f"{self.case.name} round {len(self.added)}: {added:.1f} ns above {floor:.1f}")

    def result(self, base: float | None) -> results.Result:
        """``base``: what the target is above, if known."""
        target = self.case.target
        if self.case.above:
            target += base if base is not None else base_target(self.case.above)
        return results.summarise(self.case.name, "ns", self.added, target, floors=self.floors)


def base_target(name: str) -> float:
    return next(case.target for case in CASES if case.name == name)


def measure(cases: Sequence[Case], stock: Stock, rounds: int, seconds: float) -> list[results.Result]:
    """All cases once in each round, so that what changes while it runs changes for all."""
    measured = [Measured(case, stock) for case in cases]
    for _ in range(rounds):
        for each in measured:
            each.round(seconds)
    return summaries(measured)


def summaries(measured: Sequence[Measured]) -> list[results.Result]:
    medians = {each.case.name: each.result(None).median for each in measured}
    return [each.result(medians.get(each.case.above)) for each in measured]


def print_stages(cases: Sequence[Case], stock: Stock, seconds: float) -> None:
    import special
    import stages  # which uses this module

    special.build("stages", "-Dstages=true")
    for case in cases:
        found = stages.measure(stock, case, seconds)
        print(f"{case.name}, cycles of a packet\n{stages.table(found)}\n", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(case.name for case in CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement (default 1)")
    parser.add_argument("--json", type=Path, help="also write the results here")
    parser.add_argument("--stages", action="store_true", help="cycles of a packet by stage instead")
    options = parser.parse_args()
    cases = choose(parser, options.names or [case.name for case in CASES])
    with work_folder() as folder:
        try:
            if options.stages:
                print_stages(cases, Stock(folder), options.seconds)
                return 0
            found = measure(cases, Stock(folder), options.rounds, options.seconds)
        except Failed as error:
            raise SystemExit(str(error)) from error
    if options.json:
        results.write(options.json, found)
    for result in found:
        print(results.line(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
