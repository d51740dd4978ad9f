"""Throughput of the run models: packets out of memory through a forwarder whose driver throws them away.

One worker run-to-completion; the same over a pipeline (receiver, worker, sender). Uses no network.

Where the lcores have to share CPUs, the rate is the scheduler's. So the CPU time that each kind of lcore took
for a packet is printed, too (threads' own time, without what others took, with their empty polls): with a CPU
for each lcore, the pipeline is at least as fast as its slowest kind says.

    bench/run_models.py [--seconds 5] [--runs 3] [--prefer]
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from dataplane.rig import config, snapshot, to_toml
from oracle.build import IPV4, ethernet, ipv4, tcp

sys.path.insert(0, str(Path(__file__).resolve().parent))
from reload import prefer

from glbpy import forwarder, pcap

FLOWS = 4096
MODELS: dict[str, tuple[str, int]] = {
    "run-to-completion, 1 worker": ("run-to-completion", 1),
    "pipeline, 1 worker": ("pipeline", 1),
    "pipeline, 2 workers": ("pipeline", 2),
}


@dataclass(frozen=True)
class Result:
    rate: float  # packets sent a second
    lost: int  # at full rings
    ns: dict[str, float]  # CPU time of a packet by role


def cpu_ns(pid: int) -> dict[int, int]:
    """CPU time of each lcore's thread."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        if name.startswith("rte-worker-"):
            found[int(name.rpartition("-")[2])] = int((task / "schedstat").read_text().split()[0])
    return found


def measure(folder: Path, run_model: str, workers: int, seconds: float, preferred: bool) -> Result:
    name = f"bench-{os.getpid()}"
    document = config(
        name, folder, f"net_pcap0,rx_pcap={folder}/in.pcap,infinite_rx=1",
        forward={"run_model": run_model, "filter_mac": False, "mtu": 0},
        eal={"args": ["--no-huge", "-m", "160", "--no-pci"], "workers": workers},
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
        client.stop()
        os.waitpid(pid, 0)
        forwarder.remove_traces(name)
    grown = {reason: n - before.counters[reason] for reason, n in after.counters.items()}
    packets: Counter[str] = Counter()
    ns: Counter[str] = Counter()
    for old, new in zip(before.workers, after.workers, strict=True):
        packets[new.role] += new.rx_packets - old.rx_packets
        ns[new.role] += cpu_after[new.lcore] - cpu_before[new.lcore]
    return Result(
        rate=grown["forwarded"] / (end - start),
        lost=grown["steer_ring_full"] + grown["tx_ring_full"],
        ns={role: ns[role] / max(packets[role], 1) for role in ns},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--prefer", action="store_true", help="give the forwarder the highest priority")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="glb-bench-", dir="/dev/shm") as work:
        folder = Path(work)
        snapshot(folder / "snapshot.glb")
        frames = [
            ethernet(ipv4("192.0.2.77", "203.0.113.10", 6, tcp(1024 + n, 80)), IPV4) for n in range(FLOWS)
        ]
        pcap.write(folder / "in.pcap", frames, range(FLOWS))
        for title, (run_model, workers) in MODELS.items():
            done = [
                measure(folder, run_model, workers, arguments.seconds, arguments.prefer)
                for _ in range(arguments.runs)
            ]
            rate = statistics.median(each.rate for each in done) / 1e6
            lost = statistics.median(each.lost for each in done)
            roles = {role: round(statistics.median(each.ns[role] for each in done)) for role in done[0].ns}
            print(f"{title}: {rate:.2f} million packets a second, {lost} dropped at full rings, ns {roles}")


if __name__ == "__main__":
    main()
