"""What a live capture costs the worker: CPU time of a packet without one, and with one.

    bench/capture.py [--seconds 2] [--runs 3] [--prefer]

Packets out of memory, one worker that runs to completion, as in bench/run_models.py. Nobody reads what is
captured: the ring fills at once, and from then on each matching packet is counted as missed. Uses no network.
"""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "bench"))

from dataplane.rig import VIP, config, snapshot, to_toml  # noqa: E402
from machine import prefer  # noqa: E402
from oracle.build import IPV4, ethernet, ipv4, tcp  # noqa: E402
from run_models import FLOWS, cpu_ns, places  # noqa: E402

from glbpy import forwarder, pcap  # noqa: E402
from glbpy.errors import ForwarderError  # noqa: E402

CASES: dict[str, dict[str, Any] | None] = {
    "none": None,
    "of drops": {"at": ["drop"]},
    "of another client": {"at": ["ingress"], "client": "198.51.100.1/32"},
    "of all, nobody reads": {"at": ["ingress"]},
    "none, afterwards": None,
}


def cost(client: forwarder.Forwarder, pid: int, seconds: float) -> float:
    """CPU time of the worker in ns, by received packet."""
    (before,), cpu_before = client.status().workers, sum(cpu_ns(pid).values())
    time.sleep(seconds)
    (after,), cpu_after = client.status().workers, sum(cpu_ns(pid).values())
    return (cpu_after - cpu_before) / (after.rx_packets - before.rx_packets)


def measure(folder: Path, seconds: float, preferred: bool) -> dict[str, float]:
    name = f"bench-{os.getpid()}"
    document = config(
        name, folder, f"net_pcap0,rx_pcap={folder}/in.pcap,infinite_rx=1",
        forward={"filter_mac": False, "mtu": 0},
        eal={"args": ["--no-huge", "-m", "160", "--no-pci"], "workers": 1, **places("run-to-completion", 1)},
    )  # fmt: skip
    (folder / "director.toml").write_text(to_toml(document))
    client = forwarder.Forwarder(folder / "run/control.sock")
    command = [str(forwarder.find_program()), "--config", str(folder / "director.toml")]
    pid = forwarder.start(command, client.socket_path, log=folder / "log", timeout_s=60)
    found = {}
    try:
        if preferred:
            prefer(pid)
        time.sleep(0.5)
        for case, wanted in CASES.items():
            if wanted is not None:
                client.capture(seconds=60, **wanted)
                time.sleep(0.1)
            found[case] = cost(client, pid, seconds)
            client.end_capture()
    finally:
        try:
            client.stop()
        except ForwarderError:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        forwarder.remove_traces(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--prefer", action="store_true", help="give the forwarder the highest priority")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="glb-bench-", dir="/dev/shm") as work:
        folder = Path(work)
        snapshot(folder / "snapshot.glb")
        frames = [ethernet(ipv4("192.0.2.77", VIP, 6, tcp(1024 + n, 80)), IPV4) for n in range(FLOWS)]
        pcap.write(folder / "in.pcap", frames, range(FLOWS))
        rounds = [measure(folder, options.seconds, options.prefer) for _ in range(options.runs)]
    for case in CASES:
        ns = [each[case] for each in rounds]
        print(f"capture {case}: {statistics.median(ns):.0f} ns a packet ({min(ns):.0f} to {max(ns):.0f})")


if __name__ == "__main__":
    main()
