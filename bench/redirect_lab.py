"""What the second hop costs a connection: a bulk upload in a lab, its backend first in the chain, or drained.

    .venv/bin/python bench/redirect_lab.py [--rounds N] [--seconds S]        (root)

One connection uploads all the while. A drain puts another backend in front of its chain, so that each of its
packets goes there first and comes on by glb-redirect; an undrain takes that back. Rounds of both in turn.
Printed are medians of the rounds: bytes acknowledged by time, and what the eBPF programs took a packet by the
kernel's own count (kernel.bpf_stats_enabled, which costs some nanoseconds itself).
"""

import argparse
import contextlib
import fcntl
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glbpy.client import path_of
from glbpy.lab import netns, redirect
from glbpy.lab.lab import Lab, document
from glbpy.lab.topology import VIP4

PORT = 9000
SIOCOUTQ = 0x5411  # bytes that are sent and not acknowledged
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
SINK = f"""
import socket
with socket.create_server(("{VIP4}", {PORT})) as server:
    while True:
        connection, _ = server.accept()
        while connection.recv(1 << 20):
            pass
"""


@dataclass(frozen=True)
class Seen:
    """What one phase showed: goodput, and packets and nanoseconds of each backend's program."""

    mbytes_s: float
    runs: dict[str, int]
    run_ns: dict[str, int]
    forwarded: int
    local: int


class Upload(threading.Thread):
    """Sends on one connection as fast as it goes."""

    def __init__(self, namespace: str) -> None:
        super().__init__(daemon=True)
        self.sent, self.going = 0, True
        with netns.entered(namespace):
            self.connection = socket.create_connection((VIP4, PORT), timeout=10)

    def run(self) -> None:
        data = bytes(1 << 16)
        with contextlib.suppress(OSError):
            while self.going:
                self.sent += self.connection.send(data)

    def acknowledged(self) -> int:
        [waiting] = struct.unpack("i", fcntl.ioctl(self.connection, SIOCOUTQ, bytes(4)))
        return self.sent - int(waiting)

    def stop(self) -> None:
        self.going = False
        self.connection.shutdown(socket.SHUT_RDWR)
        self.join()
        self.connection.close()


def programs(lab: Lab) -> dict[str, dict[str, Any]]:
    """Return status and run statistics of each backend's program."""
    found = {}
    for each in lab.backends():
        status = json.loads(redirect.tool(each, lab.path, "status", "eth0", "--json"))
        command = ["bpftool", "-j", "prog", "show", "id", str(status["program_id"])]
        shown = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        runs = {"ns": shown.get("run_time_ns", 0), "runs": shown.get("run_cnt", 0)}  # absent before the first
        found[each.name] = {**status["counters"], **runs}
    return found


def phase(lab: Lab, upload: Upload, seconds: float) -> Seen:
    time.sleep(0.5)  # what was on the way by the former chain
    before, acked, began = programs(lab), upload.acknowledged(), time.monotonic()
    time.sleep(seconds)
    moved, took, after = upload.acknowledged() - acked, time.monotonic() - began, programs(lab)

    def more(key: str) -> dict[str, int]:
        return {name: after[name][key] - before[name][key] for name in after}

    return Seen(
        moved / took / 1e6, more("runs"), more("ns"),
        sum(more("forwarded").values()), sum(more("local_established").values()),
    )  # fmt: skip


@contextlib.contextmanager
def laid_out() -> Iterator[Lab]:
    lab = Lab(f"bench{os.getpid()}")
    before = STATS.read_text()
    sinks: list[int] = []
    try:
        lab.up()
        whole = document(lab.backends())
        whole["services"].append({**whole["services"][0], "name": "bulk", "ports": [PORT], "hops": 2})
        with lab.api() as api:
            lab.wait_in_force(api, api.post(path_of("apply"), whole)["revision"])
        sinks = [
            netns.spawn(each.ns, [sys.executable, "-c", SINK], lab.path / each.name / "sink.log")
            for each in lab.backends()
        ]
        time.sleep(1)
        STATS.write_text("1")
        yield lab
    finally:
        STATS.write_text(before)
        netns.stop(sinks)
        lab.down()


def home(lab: Lab, upload: Upload) -> str:
    """Return the backend that has the connection."""
    before = programs(lab)
    time.sleep(0.5)
    after = programs(lab)
    assert upload.acknowledged()
    grown = {name: after[name]["local_established"] - before[name]["local_established"] for name in after}
    return max(grown, key=lambda name: grown[name])


def show(name: str, seen: list[Seen], where: str) -> None:
    rate = statistics.median(one.mbytes_s for one in seen)
    here = statistics.median(one.run_ns[where] / max(one.runs[where], 1) for one in seen)
    there = []
    for one in seen:
        runs = sum(count for backend, count in one.runs.items() if backend != where)
        time_ns = sum(spent for backend, spent in one.run_ns.items() if backend != where)
        if one.forwarded > 1000:
            there.append(time_ns / runs)
    first = f", on the hop before {statistics.median(there):.0f} ns" if there else ""
    onward = statistics.median(one.forwarded / max(one.local, 1) for one in seen)
    print(f"{name}: {rate:.1f} MB/s; on the backend {here:.0f} ns a packet{first}; {onward:.2f} sent on each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    with laid_out() as lab:
        upload = Upload(lab.state().namespaces.client)
        upload.start()
        where = home(lab, upload)
        direct, around = [], []
        for _ in range(given.rounds):
            direct.append(phase(lab, upload, given.seconds))
            lab.drain(where)
            around.append(phase(lab, upload, given.seconds))
            lab.drain(where, undrain=True)
        upload.stop()
    show("first hop", direct, where)
    show("second hop", around, where)
    ratio = statistics.median(b.mbytes_s / a.mbytes_s for a, b in zip(direct, around, strict=True))
    print(f"second hop by first, median of {given.rounds} rounds: {ratio:.2f}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
