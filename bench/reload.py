"""Reload a forwarder many times a second while it forwards as fast as it can: what was lost, what it took.

Packets come from memory (net_pcap, infinite_rx) and the driver throws away what is sent, so the worker never
waits. The snapshots have 100 services that share ten row tables, and lie on tmpfs. Uses no network.

With every load, the kernel is asked how long the main and the worker lcore had to wait for a CPU that others
used meanwhile (run_delay). A load is undisturbed when that is less than 0.1 ms: what is slow then is the
forwarder's own.

    bench/reload.py [--rate 100] [--seconds 10] [--rows 65536] [--prefer] [--json]
"""

import argparse
import ipaddress
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import results
from machine import QUIET_US, Waits, aside, prefer
from oracle.build import IPV4, ethernet, ipv4, tcp

from glbpy import _native as native
from glbpy import forwarder, pcap
from glbpy.errors import ForwarderError

SLOW_US = 1000
SERVICES, POOLS, BACKENDS, FLOWS = 100, 10, 50, 4096


def compiled(rows: int, revision: int, draining: int) -> bytes:
    """Return 100 services on ten pools. ``draining`` is the backend of each pool that drains."""
    ip = ipaddress.ip_address
    pools = tuple(
        native.PoolInput(
            f"pool{p}",
            tuple(
                native.BackendInput(
                    f"b{b}", 1 + p * BACKENDS + b, ip("10.0.0.1") + 256 * p + b,
                    state="draining" if b == draining else "active",
                )
                for b in range(BACKENDS)
            ),
        )
        for p in range(POOLS)
    )  # fmt: skip
    services = tuple(
        native.ServiceInput(
            name=f"www{n}", id=n + 1, pool=n % POOLS, rows=rows,
            hash_key=bytes(16), seed=bytes([n % POOLS] * 16),
            binds=(native.BindInput(ipaddress.ip_network(ip("203.0.113.0") + n), "tcp", 80, 80),),
            hash_fields=("src_addr", "src_port"),
        )
        for n in range(SERVICES)
    )  # fmt: skip
    return native.compile_snapshot(native.ConfigInput(pools, services, revision))


def director(folder: Path) -> str:
    main, worker = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    return f"""
[director]
name = "bench-{os.getpid()}"
snapshot = "{folder}/kept.glb"
run_dir = "{folder}/run"
[forward]
outer_source_v4 = "172.16.0.1"
gateway_mac = "02:00:00:00:00:fe"
filter_mac = false
idle = "busy"
[eal]
args = ["--no-huge", "-m", "128", "--no-pci"]
workers = 1
main_lcore = {main}
worker_lcores = [{worker}]
[[port]]
devargs = "net_pcap0,rx_pcap={folder}/in.pcap,infinite_rx=1"
"""


@dataclass(frozen=True)
class Load:
    load_us: int
    switch_us: int
    waited_us: int  # main and worker lcore, for a CPU


def reload(
    client: forwarder.Forwarder, waits: Waits, paths: list[Path], rate: float, seconds: float
) -> list[Load]:
    """Load the files in turn, ``rate`` times a second or as fast as it goes."""
    loads: list[Load] = []
    start = time.monotonic()
    while (now := time.monotonic()) < start + seconds:
        due = start + len(loads) / rate
        if now < due:
            time.sleep(due - now)
        before = waits.total_us()
        loaded = client.load(paths[len(loads) % len(paths)])
        loads.append(Load(loaded.load_us, loaded.switch_us, waits.total_us() - before))
    return loads


def spread(values: list[int]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"median": statistics.median(values), "p99": cuts[98], "max": max(values)}


def disturbances(loads: list[Load]) -> dict[str, Any]:
    """Whose the slow switches are. A lcore that waits for a CPU explains a switch if it waited as long."""
    slow = [load for load in loads if load.switch_us > SLOW_US]
    quiet = [load.switch_us for load in loads if load.waited_us < QUIET_US]
    return {
        "over_1_ms": len(slow),
        "of_these_waiting": sum(load.waited_us >= load.switch_us // 2 for load in slow),
        "undisturbed": len(quiet),
        "undisturbed_switch_us": spread(quiet) if len(quiet) > 1 else None,
    }


def end(client: forwarder.Forwarder, pid: int) -> None:
    """Stop a forwarder, one way or the other: what went wrong before is what is to be told."""
    try:
        client.stop()
    except ForwarderError:
        os.kill(pid, signal.SIGKILL)
    forwarder.wait_gone(pid)


def run(folder: Path, rate: float, seconds: float, rows: int, preferred: bool) -> dict[str, Any]:
    paths = [folder / "a.glb", folder / "b.glb"]
    for number, path in enumerate(paths):
        path.write_bytes(compiled(rows, number + 1, draining=number))
    (folder / "kept.glb").write_bytes(paths[1].read_bytes())  # in force from the first packet on
    frames = [
        ethernet(ipv4(f"198.51.100.{n % 250}", f"203.0.113.{n % SERVICES}", 6, tcp(1024 + n, 80)), IPV4)
        for n in range(FLOWS)
    ]
    pcap.write(folder / "in.pcap", frames, range(FLOWS))
    (folder / "director.toml").write_text(director(folder))
    client = forwarder.Forwarder(folder / "run/control.sock")
    program = str(forwarder.find_program())
    pid = forwarder.start(
        [program, "--config", str(folder / "director.toml")],
        client.socket_path,
        log=folder / "log",
        timeout_s=60,
    )
    try:
        if preferred:
            prefer(pid)
        before = client.status()
        began = time.monotonic()
        with aside(min(os.sched_getaffinity(0))):
            loads = reload(client, Waits(pid), paths, rate, seconds)
        took = time.monotonic() - began
        after = client.status()
    finally:
        end(client, pid)
    first, last = before.workers[0], after.workers[0]
    received = last.rx_packets - first.rx_packets
    return {
        "seconds": round(took, 2),
        "loads": len(loads),
        "loads_per_s": round(len(loads) / took, 1),
        "snapshot_bytes": paths[0].stat().st_size,
        "packets": received,
        "packets_per_s": round(received / took),
        "cycles_per_packet": round((last.busy_cycles - first.busy_cycles) / max(received, 1)),
        "lost": sum(n for reason, n in after.counters.items() if reason != "forwarded"),
        "missed": after.ports[0].rx_missed,
        "load_us": spread([load.load_us for load in loads]),
        "switch_us": spread([load.switch_us for load in loads]),
        **disturbances(loads),
    }


def figures(rounds: int, seconds: float, preferred: bool) -> list[results.Result]:
    """Reload 100 times a second."""
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="glb-bench-") as folder:
            found.append(run(Path(folder), 100, seconds, 65536, preferred))

    def one(name: str, unit: str, values: list[float], target: float | None = None) -> results.Result:
        return results.summarise(f"reload-{name}", unit, values, target)

    quiet = [each["undisturbed_switch_us"]["max"] / 1000 for each in found if each["undisturbed_switch_us"]]
    return [
        one("rate", "a second", [each["loads_per_s"] for each in found]),
        one("forwarded", "million packets a second", [each["packets_per_s"] / 1e6 for each in found]),
        one("lost", "packets", [each["lost"] + each["missed"] for each in found], 0),
        one("check-p99", "ms", [each["load_us"]["p99"] / 1000 for each in found]),
        one("switch-median", "ms", [each["switch_us"]["median"] / 1000 for each in found]),
        one("switch-p99", "ms", [each["switch_us"]["p99"] / 1000 for each in found], 1),
        one("switch-max", "ms", [each["switch_us"]["max"] / 1000 for each in found]),
        *([one("switch-undisturbed-max", "ms", quiet)] if quiet else []),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=100.0, help="loads a second (default 100)")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rows", type=int, default=65536, help="rows of each table, a power of two")
    parser.add_argument(
        "--prefer", action="store_true", help="give the forwarder the highest priority (nice -20)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="glb-bench-") as folder:
        result = run(Path(folder), options.rate, options.seconds, options.rows, options.prefer)
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:18} {value}")
    return 0 if result["lost"] == result["missed"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
