"""What an idle forwarder costs, and how soon it forwards the first packet after a pause: both idle modes.

Run as root: .venv/bin/python bench/idle.py [--seconds 5] [--packets 200] [--prefer]. A forwarder on a veth
(net_af_packet) gets nothing for some seconds: CPU time of all its threads. Then single packets, each after a
pause at random of 0.1 to 0.15 s, by when it sleeps as long as it ever does. The kernel's own timestamps of
the packet on its way in and on its way out are compared: no program is in between but the forwarder.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "bench"))

from dataplane.first_packet import first_packets_us  # noqa: E402
from dataplane.rig import Director, Segment, config, snapshot  # noqa: E402
from reload import prefer  # noqa: E402

from glbpy import forwarder  # noqa: E402

AF_PACKET = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"
LIMIT_US = 1000
RUN_MODELS = (("run-to-completion", 1), ("pipeline", 1), ("pipeline", 4))


def cpu_ns(pid: int) -> int:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def measure(
    run_model: str, workers: int, idle: str, seconds: float, packets: int, preferred: bool
) -> dict[str, object]:
    segment = Segment()
    with tempfile.TemporaryDirectory(prefix="glb-bench-") as work:
        folder = Path(work)
        forward, eal = {"run_model": run_model, "idle": idle}, {"workers": workers}
        director = Director(
            folder, config("bench-idle", folder, AF_PACKET, forward=forward, eal=eal), segment.prefix
        )
        snapshot(director.snapshot)
        director.start()
        try:
            if preferred:
                prefer(director.pid)
            time.sleep(1)
            before, start = cpu_ns(director.pid), time.monotonic_ns()
            time.sleep(seconds)
            share = (cpu_ns(director.pid) - before) / (time.monotonic_ns() - start)
            latency = first_packets_us(segment, packets)
        finally:
            director.kill()
            forwarder.remove_traces("bench-idle")
            segment.close()
    return {
        "run_model": run_model, "workers": workers, "idle": idle, "cores": round(share, 4),
        "first_packet_us": {
            "median": round(statistics.median(latency)),
            "p90": round(statistics.quantiles(latency, n=10)[8]),
            "max": round(max(latency)),
        },
        "within_1_ms": f"{sum(each <= LIMIT_US for each in latency)} of {len(latency)}",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5, help="to be idle (default 5)")
    parser.add_argument("--packets", type=int, default=200)
    parser.add_argument("--prefer", action="store_true", help="give the forwarder the highest priority")
    options = parser.parse_args()
    for run_model, workers in RUN_MODELS:
        for idle in ("adaptive", "busy") if workers == 1 else ("adaptive",):
            found = measure(run_model, workers, idle, options.seconds, options.packets, options.prefer)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
