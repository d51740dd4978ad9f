"""What a forwarded packet costs the worker on af_packet and on af_xdp, the driver's system calls included.

Run as root: .venv/bin/python bench/ports.py [--packets N] [--rounds N]
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import results
from dataplane.rig import VIP, Director, Segment, config, snapshot
from oracle.build import IPV4, ethernet, ipv4, tcp

from glbpy import forwarder

PORTS = {
    "net_af_packet": "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536",
    "net_af_xdp": "net_af_xdp0,iface=director0",
}
BURST = 200


def measure(devargs: str, packets: int, folder: Path) -> tuple[float, float, int]:
    """TSC cycles of polls that brought packets, by forwarded packet; packets a burst; packets lost."""
    name, segment = f"bench-ports-{os.getpid()}", Segment()
    director = Director(folder, config(name, folder, devargs), segment.prefix)
    try:
        snapshot(director.snapshot)
        director.start()
        sent = 0
        while sent < packets:
            sent += segment.wire.send(
                ethernet(ipv4("192.0.2.77", VIP, 6, tcp(1024 + n, 80)), IPV4, dst=segment.mac)
                for n in range(BURST)
            )
            director.wait_for("forwarded", sent, timeout_s=1)
        status = director.client.status()
        (worker,) = status.workers
        forwarded = status.counters["forwarded"]  # af_packet also receives what it sent itself
        lost = sent - forwarded
        return worker.busy_cycles / forwarded, worker.rx_packets / worker.bursts, lost
    finally:
        if director.pid:
            director.kill()
        forwarder.remove_traces(name)
        segment.close()


def measure_all(rounds: int, packets: int) -> dict[str, list[tuple[float, float, int]]]:
    """Return each driver's rounds; every driver is in each round."""
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in PORTS}
    for _ in range(rounds):
        for name, devargs in PORTS.items():
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(measure(devargs, packets, Path(folder) / "run"))
    return found


def figures(rounds: int, packets: int) -> Iterator[results.Result]:
    for name, done in measure_all(rounds, packets).items():
        cycles, bursts, lost = zip(*done, strict=True)
        port = name.removeprefix("net_").replace("_", "-")
        yield results.summarise(f"{port}-cost", "cycles", cycles, None)
        yield results.summarise(f"{port}-burst", "packets", bursts, None)
        yield results.summarise(f"{port}-lost", "packets", lost, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for name, done in measure_all(options.rounds, options.packets).items():
        cycles, bursts, lost = zip(*done, strict=True)
        print(
            f"{name}: {statistics.median(cycles):.0f} cycles a packet "
            f"({min(cycles):.0f} to {max(cycles):.0f}), "
            f"{statistics.median(bursts):.1f} packets a burst, {max(lost)} lost"
        )


if __name__ == "__main__":
    main()
