"""What forwarding a packet costs, above what DPDK's own testpmd needs to receive, touch and send it.

Packets come from memory (net_pcap, infinite_rx, 256-byte buffers) and the driver throws away what is sent. A
round measures testpmd (macswap) and then the forwarder on the same file; the cost is the difference of the
two, CPU time of the thread of the worker by packet, which has a CPU to itself (SCHED_FIFO); all else is
on the other. Uses no network.

    bench/cost.py [NAME ...] [--rounds 5] [--seconds 1] [--json FILE]
"""

import argparse
import ipaddress
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from dataplane.rig import to_toml
from oracle.build import IPV4, IPV6, ethernet, ipv4, ipv6, tcp

from glbpy import _native as native
from glbpy import forwarder, pcap

RX_POOL_SPARE = 16384  # buffers beside those that hold the packets of the file
TESTPMD = "dpdk-testpmd"


@dataclass(frozen=True)
class Case:
    """One line of the table: what the packets and the snapshot are like. ``target`` is in ns."""

    name: str
    target: float
    flows: int = 100_000
    services: int = 10
    tables: int = 10
    backends: int = 10
    family: int = 4
    service: dict[str, Any] = field(default_factory=dict)
    flow_cache: int = 0  # entries a worker


CASES = (
    Case("gue-v4-1k", 10, flows=1000),
    Case("gue-v4-100k", 8),
    Case("gue-v4-1m", 18, flows=1_000_000),
    Case("gue-v6-100k", 14, family=6),
    Case("hash4-100k", 11, service={"hash_fields": ("src_addr", "dst_addr", "src_port", "dst_port")}),
    Case("hops4-100k", 13, service={"hops": 4}),
    Case("services-10k", 12, services=10_000, tables=100),
    Case("backends-1k", 15, backends=1000),
)


def vip(number: int, family: int) -> Any:
    """The VIP of a service; 10,000 of them fit."""
    return ipaddress.ip_address("203.0.0.0" if family == 4 else "2001:db8:203::") + number


def snapshot(case: Case) -> bytes:
    start = ipaddress.ip_address("10.0.0.1")
    pools = tuple(
        native.PoolInput(
            f"pool{p}",
            tuple(
                native.BackendInput(f"b{b}", 1 + p * case.backends + b, start + p * case.backends + b)
                for b in range(case.backends)
            ),
        )
        for p in range(case.tables)
    )
    options: dict[str, Any] = {"hash_fields": ("src_addr",)} | case.service
    services = tuple(
        native.ServiceInput(
            name=f"www{n}", id=n + 1, pool=n % case.tables,
            hash_key=bytes(16), seed=bytes([n % case.tables] * 16),
            binds=(native.BindInput(ipaddress.ip_network(vip(n, case.family)), "tcp", 80, 80),), **options,
        )
        for n in range(case.services)
    )  # fmt: skip
    return native.compile_snapshot(native.ConfigInput(pools, services, 1))


def frames(case: Case) -> list[bytes]:
    """One 64-byte (v6: 78-byte) packet of each flow, in random order; flows spread over the services."""
    rng = random.Random(1)
    order = list(range(case.flows))
    rng.shuffle(order)
    clients = ipaddress.ip_address("100.64.0.1" if case.family == 4 else "2001:db8:1::1")
    packets = []
    for n in order:
        client, server = str(clients + n), str(vip(n % case.services, case.family))
        segment = tcp(1024 + n % 60000, 80)
        if case.family == 4:
            packets.append(ethernet(ipv4(client, server, 6, segment), IPV4).ljust(64, b"\0"))
        else:
            packets.append(ethernet(ipv6(client, server, 6, segment), IPV6))
    return packets


def director(folder: Path, case: Case, cpus: tuple[int, int]) -> str:
    mbufs = case.flows + RX_POOL_SPARE
    document: dict[str, Any] = {
        "director": {
            "name": f"bench-{os.getpid()}",
            "snapshot": str(folder / "snapshot.glb"),
            "run_dir": str(folder / "run"),
        },
        "forward": {
            "outer_source_v4": "172.16.0.1", "gateway_mac": "02:00:00:00:00:fe", "filter_mac": False,
            "idle": "busy", "mtu": 0,
        },
        "eal": {
            "args": ["--no-huge", "-m", str(64 + mbufs * 512 // 2**20), "--no-pci"], "workers": 1,
            "main_lcore": cpus[0], "worker_lcores": [cpus[1]], "mbufs": mbufs, "mbuf_bytes": 128,
        },
        "stats": {"service_slots": 16384, "backend_slots": 262144},
        "port": [{"devargs": f"net_pcap0,rx_pcap={folder}/in.pcap,infinite_rx=1"}],
    }  # fmt: skip
    return to_toml(document)


def busiest(pid: int) -> int:
    """The thread that uses most CPU time now: the one that polls."""
    tids = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    before = {tid: cpu_ns(pid, tid) for tid in tids}
    time.sleep(0.3)
    return max(tids, key=lambda tid: cpu_ns(pid, tid) - before[tid])


def cpu_ns(pid: int, tid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[0])


def cost(pid: int, packets: Callable[[], int], seconds: float) -> float:
    """CPU time of the polling thread by packet, in ns."""
    tid = busiest(pid)
    os.sched_setscheduler(tid, os.SCHED_FIFO, os.sched_param(1))
    time.sleep(0.2)
    before, used = packets(), cpu_ns(pid, tid)
    time.sleep(seconds)
    after, used_after = packets(), cpu_ns(pid, tid)
    if after <= before:
        raise SystemExit("no packet passed: see the log")
    return (used_after - used) / (after - before)


def measure_testpmd(folder: Path, case: Case, cpus: tuple[int, int], seconds: float) -> float:
    mbufs = case.flows + RX_POOL_SPARE
    command = [
        "stdbuf", "-oL", TESTPMD, "-l", f"{cpus[0]},{cpus[1]}", "--file-prefix", f"glbbench{os.getpid()}",
        "--no-huge", "-m", str(64 + mbufs * 512 // 2**20), "--no-pci",
        "--vdev", f"net_pcap0,rx_pcap={folder}/in.pcap,infinite_rx=1",
        "--", "-i", "--forward-mode=macswap", "--mbuf-size=256", f"--total-num-mbufs={mbufs}",
        "--no-flush-rx",
        "--burst=32", "--nb-cores=1",
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
        raise SystemExit(f"testpmd ended: {(folder / 'testpmd.log').read_text()[-500:]}")

    def packets() -> int:
        return int(ask("show port stats 0", "RX-packets:").split("RX-packets:")[1].split()[0])

    try:
        ask("start", "packet forwarding - ports")
        return cost(program.pid, packets, seconds)
    finally:
        program.stdin.write("quit\n")
        program.stdin.close()
        program.stdout.read()
        program.wait(timeout=30)


def measure_forwarder(folder: Path, case: Case, cpus: tuple[int, int], seconds: float) -> float:
    (folder / "director.toml").write_text(director(folder, case, cpus))
    client = forwarder.Forwarder(folder / "run/control.sock")
    program = str(forwarder.find_program())
    pid = forwarder.start(
        [program, "--config", str(folder / "director.toml")], client.socket_path, log=folder / "log",
        timeout_s=120,
    )  # fmt: skip
    try:
        took = cost(pid, lambda: client.status().workers[0].rx_packets, seconds)
        counters = client.status().counters
        wrong = {reason: n for reason, n in counters.items() if n and reason != "forwarded"}
        if wrong:
            raise SystemExit(f"{case.name}: not all was forwarded: {wrong}")
        return took
    finally:
        client.stop()
        forwarder.wait_gone(pid)


Say = Callable[[str], None]


def run(case: Case, rounds: int, seconds: float, cpus: tuple[int, int], say: Say) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="glb-bench-") as work:
        folder = Path(work)
        (folder / "snapshot.glb").write_bytes(snapshot(case))
        packets = frames(case)
        pcap.write(folder / "in.pcap", packets, range(len(packets)))
        del packets
        floors, added = [], []
        for number in range(rounds):
            floors.append(measure_testpmd(folder, case, cpus, seconds))
            added.append(measure_forwarder(folder, case, cpus, seconds) - floors[-1])
            say(f"{case.name} {number + 1}/{rounds}: {added[-1]:.1f} ns above {floors[-1]:.1f}")
    median = statistics.median(added)
    return {
        "name": case.name, "unit": "ns", "median": round(median, 2), "min": round(min(added), 2),
        "max": round(max(added), 2), "n": rounds, "floor_median": round(statistics.median(floors), 2),
        "target": case.target, "met": median <= case.target,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(case.name for case in CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement (default 1)")
    parser.add_argument("--json", type=Path, help="also write the results here")
    options = parser.parse_args()
    cases = [case for case in CASES if not options.names or case.name in options.names]
    unknown = set(options.names) - {case.name for case in cases}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        parser.error("two CPUs are needed: one for the worker alone")

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    results = [run(case, options.rounds, options.seconds, (cpus[0], cpus[-1]), say) for case in cases]
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    for result in results:
        print(
            f"{result['name']:16} {result['median']:7.1f} ns  ({result['min']:.1f} to {result['max']:.1f}) "
            f"above {result['floor_median']:.1f}  target {result['target']:g}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
