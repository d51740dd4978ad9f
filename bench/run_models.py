"""Throughput of the run models: packets out of memory through a forwarder whose driver throws them away.

One worker run-to-completion; the same over a pipeline (receiver, worker, sender). Uses no network.

    bench/run_models.py [--seconds 5] [--runs 3]
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from dataplane.rig import config, snapshot, to_toml
from oracle.build import IPV4, ethernet, ipv4, tcp

from glbpy import forwarder, pcap

FLOWS = 4096
MODELS: dict[str, tuple[str, int]] = {
    "run-to-completion, 1 worker": ("run-to-completion", 1),
    "pipeline, 1 worker": ("pipeline", 1),
    "pipeline, 2 workers": ("pipeline", 2),
}


def measure(folder: Path, run_model: str, workers: int, seconds: float) -> tuple[float, int]:
    """Return packets sent a second and packets dropped at full rings."""
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
        time.sleep(0.5)
        before, start = client.status().counters, time.monotonic()
        time.sleep(seconds)
        after, end = client.status().counters, time.monotonic()
    finally:
        client.stop()
        os.waitpid(pid, 0)
        forwarder.remove_traces(name)
    lost = sum(after[reason] - before[reason] for reason in ("steer_ring_full", "tx_ring_full"))
    return (after["forwarded"] - before["forwarded"]) / (end - start), lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="glb-bench-", dir="/dev/shm") as work:
        folder = Path(work)
        snapshot(folder / "snapshot.glb")
        frames = [
            ethernet(ipv4("192.0.2.77", "203.0.113.10", 6, tcp(1024 + n, 80)), IPV4) for n in range(FLOWS)
        ]
        pcap.write(folder / "in.pcap", frames, range(FLOWS))
        for title, (run_model, workers) in MODELS.items():
            done = [measure(folder, run_model, workers, arguments.seconds) for _ in range(arguments.runs)]
            rate = statistics.median(rate for rate, _ in done) / 1e6
            lost = statistics.median(lost for _, lost in done)
            print(f"{title}: {rate:.2f} million packets a second, {lost} dropped at full rings")


if __name__ == "__main__":
    main()
