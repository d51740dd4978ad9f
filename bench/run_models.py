"""Throughput of the run models: packets out of memory through a forwarder whose driver throws them away.

One worker run-to-completion; the same over a pipeline (receiver, worker, sender). Uses no network.

Workers are on the last CPU, and share it; receiver and sender share the first. So the CPU time that each kind
of lcore took for a packet is printed, too (threads' own time, without what others took, with their empty
polls): with a CPU for each lcore, the pipeline is at least as fast as its slowest kind says. All sleep when
they have nothing to do (idle = adaptive), and leave the CPU to the others.

    bench/run_models.py [--seconds 5] [--runs 3] [--prefer]
"""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import results
from dataplane.rig import VIP, config, snapshot, to_toml
from machine import prefer
from oracle.build import IPV4, ethernet, ipv4, tcp

from glbpy import forwarder, pcap
from glbpy.errors import ForwarderError

FLOWS = 4096
MODELS: dict[str, tuple[str, int]] = {
    "run-to-completion, 1 worker": ("run-to-completion", 1),
    "pipeline, 1 worker": ("pipeline", 1),
    "pipeline, 2 workers": ("pipeline", 2),
}


@dataclass(frozen=True)
class Throughput:
    rate: float  # packets sent a second
    lost: float  # at full rings, of the received
    ns: dict[str, float]  # CPU time of a packet by role


def cpu_ns(pid: int) -> dict[int, int]:
    """CPU time of each lcore's thread."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        if name.startswith("rte-worker-"):
            found[int(name.rpartition("-")[2])] = int((task / "schedstat").read_text().split()[0])
    return found


def places(run_model: str, workers: int) -> dict[str, Any]:
    """Workers on the last CPU, all else on the first: what two CPUs do best."""
    allowed = sorted(os.sched_getaffinity(0))
    eal: dict[str, Any] = {"main_lcore": allowed[0], "worker_lcores": [allowed[-1]] * workers}
    if run_model == "pipeline":
        eal |= {"receiver_lcores": [allowed[0]], "sender_lcores": [allowed[0]]}
    return eal


def measure(folder: Path, run_model: str, workers: int, seconds: float, preferred: bool) -> Throughput:
    name = f"bench-{os.getpid()}"
    document = config(
        name, folder, f"net_pcap0,rx_pcap={folder}/in.pcap,infinite_rx=1",
        forward={"run_model": run_model, "filter_mac": False, "mtu": 0},
        eal={
            "args": ["--no-huge", "-m", "160", "--no-pci"], "workers": workers, **places(run_model, workers),
        },
    )  # fmt: skip
    (folder / "director.toml").write_text(to_toml(document))
    client = forwarder.Forwarder(folder / "run/control.sock")
    program = str(forwarder.find_program())
    pid = forwarder.start(
        [program, "--config", str(folder / "director.toml")], client.socket_path, log=folder / "log",
        timeout_s=60,
    )  # fmt: skip
    try:
        if preferred:
            prefer(pid)
        time.sleep(0.5)
        before, cpu_before, start = client.status(), cpu_ns(pid), time.monotonic()
        time.sleep(seconds)
        after, cpu_after, end = client.status(), cpu_ns(pid), time.monotonic()
    finally:
        try:
            client.stop()
        except ForwarderError:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        forwarder.remove_traces(name)
    grown = {reason: n - before.counters[reason] for reason, n in after.counters.items()}
    packets: Counter[str] = Counter()
    ns: Counter[str] = Counter()
    for old, new in zip(before.workers, after.workers, strict=True):
        packets[new.role] += new.rx_packets - old.rx_packets
        ns[new.role] += cpu_after[new.lcore] - cpu_before[new.lcore]
    return Throughput(
        rate=grown["forwarded"] / (end - start),
        lost=(grown["steer_ring_full"] + grown["tx_ring_full"]) / max(sum(grown.values()), 1),
        ns={role: ns[role] / max(packets[role], 1) for role in ns},
    )


def measure_all(rounds: int, seconds: float, preferred: bool) -> dict[str, list[Throughput]]:
    """Return each model's rounds; every model is in each round."""
    found: dict[str, list[Throughput]] = {title: [] for title in MODELS}
    with tempfile.TemporaryDirectory(prefix="glb-bench-", dir="/dev/shm") as work:
        folder = Path(work)
        snapshot(folder / "snapshot.glb")
        frames = [ethernet(ipv4("192.0.2.77", VIP, 6, tcp(1024 + n, 80)), IPV4) for n in range(FLOWS)]
        pcap.write(folder / "in.pcap", frames, range(FLOWS))
        for _ in range(rounds):
            for title, (run_model, workers) in MODELS.items():
                found[title].append(measure(folder, run_model, workers, seconds, preferred))
    return found


def figures(rounds: int, seconds: float, preferred: bool) -> Iterator[results.Result]:
    """Packets a second, what full rings dropped of those received, and CPU time of a packet by role."""
    for title, done in measure_all(rounds, seconds, preferred).items():
        run_model, workers = MODELS[title]
        name = f"{run_model}-{workers}"
        rates = [each.rate / 1e6 for each in done]
        yield results.summarise(f"{name}-rate", "million packets a second", rates, None)
        if run_model == "pipeline":
            yield results.summarise(f"{name}-ring-drops", "of received", [each.lost for each in done], None)
        for role in done[0].ns:
            yield results.summarise(f"{name}-{role}", "ns", [each.ns[role] for each in done], None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--prefer", action="store_true", help="give the forwarder the highest priority")
    options = parser.parse_args()
    for title, done in measure_all(options.runs, options.seconds, options.prefer).items():
        rate = statistics.median(each.rate for each in done) / 1e6
        lost = statistics.median(each.lost for each in done)
        roles = {role: round(statistics.median(each.ns[role] for each in done)) for role in done[0].ns}
        print(f"{title}: {rate:.2f} million packets a second, {lost:.1%} dropped at full rings, ns {roles}")


if __name__ == "__main__":
    main()
