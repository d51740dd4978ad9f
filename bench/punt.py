"""What a flood of packets for the kernel leaves to those that keep the director reachable: both run models.

Run as root: .venv/bin/python bench/punt.py [--seconds 5] [--rate 500] [--prefer]. A port with punt = "tap"
gets probes, 100 a second of each class, which the kernel behind the tap answers: ARP requests (neighbour),
datagrams to BFD's port (routing) and to another (the rest). Without and with a flood of the rest: one small
datagram, sent as fast as one process can. Nothing is sent again: every probe or answer that is lost counts.
"""

import argparse
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "bench"))

import results  # noqa: E402
from dataplane.rig import Director, config, ping, snapshot  # noqa: E402
from dataplane.test_punt import AF_PACKET, DIRECTOR, FLOOD, PEER, TAP, Two  # noqa: E402
from oracle.build import ARP, IPV4, ethernet, ipv4, udp  # noqa: E402
from reload import prefer  # noqa: E402

from glbpy import forwarder  # noqa: E402

RUN_MODELS = (("run-to-completion", 1), ("pipeline", 2))
UDP_PORTS = {"routing": 3784, "other": 9999}
PROBER = socket.inet_aton("192.0.2.88")  # asks for the director by ARP; no address of the peer's
RATE = 500
PERIOD_S, LINGER_S = 0.01, 1.0


@contextmanager
def echo(two: Two, ports: list[int]) -> Iterator[None]:
    """Let the kernel behind the tap have a program that sends datagrams back."""
    with two.director.entered():
        servers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ports]
        for server, port in zip(servers, ports, strict=True):
            server.bind((DIRECTOR[4], port))
    end = threading.Event()

    def serve() -> None:
        while not end.is_set():
            for server in select.select(servers, [], [], 0.2)[0]:
                data, client = server.recvfrom(100)
                server.sendto(data, client)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        for server in servers:
            server.close()


@dataclass
class Probes:
    """What was asked, and how long the answers took."""

    sent: int = 0
    times_s: list[float] = field(default_factory=list)

    @property
    def lost_percent(self) -> float:
        return 100 - 100 * len(self.times_s) / self.sent

    @property
    def median_ms(self) -> float:
        return statistics.median(self.times_s) * 1000 if self.times_s else float("nan")

    def __str__(self) -> str:
        return f"{100 - self.lost_percent:5.1f} % answered, median {self.median_ms:6.2f} ms"


class Prober:
    """Sends probes of all classes from the peer's namespace. Answers bring a probe's number back."""

    def __init__(self, two: Two) -> None:
        with two.peer.entered():
            self.link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP))
            self.link.bind(("far0", ARP))
            self.datagrams = {kind: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for kind in UDP_PORTS}
        for kind, port in UDP_PORTS.items():
            self.datagrams[kind].connect((DIRECTOR[4], port))

    def close(self) -> None:
        for each in (self.link, *self.datagrams.values()):
            each.close()

    def ask(self, kind: str, number: int) -> None:
        if kind != "neighbour":
            self.datagrams[kind].send(number.to_bytes(4, "big"))
            return
        asker = bytes.fromhex("0200") + number.to_bytes(4, "big")
        request = (
            bytes.fromhex("0001080006040001") + asker + PROBER + bytes(6) + socket.inet_aton(DIRECTOR[4])
        )
        self.link.send(ethernet(request, ARP, dst="ff:ff:ff:ff:ff:ff"))

    def answers(self, wait_s: float) -> Iterator[tuple[str, int]]:
        kinds = {each: kind for kind, each in self.datagrams.items()} | {self.link: "neighbour"}
        for each in select.select(list(kinds), [], [], wait_s)[0]:
            data, address = each.recvfrom(2000)
            if each is not self.link:
                yield kinds[each], int.from_bytes(data, "big")
            elif address[2] != socket.PACKET_OUTGOING and data[20:22] == b"\0\2" and data[38:42] == PROBER:
                yield "neighbour", int.from_bytes(data[34:38], "big")

    def run(self, seconds: float) -> dict[str, Probes]:
        found = {kind: Probes() for kind in ("neighbour", *UDP_PORTS)}
        asked: dict[tuple[str, int], float] = {}
        begin = following = time.monotonic()
        while (now := time.monotonic()) < begin + seconds + LINGER_S:
            if now >= following and now < begin + seconds:
                for kind, probes in found.items():
                    asked[kind, probes.sent] = time.monotonic()
                    self.ask(kind, probes.sent)
                    probes.sent += 1
                following += PERIOD_S
            for answer in self.answers(min(max(following - now, 0), PERIOD_S)):
                if answer in asked:
                    found[answer[0]].times_s.append(time.monotonic() - asked.pop(answer))
        return found


def flood(two: Two, seconds: float) -> subprocess.Popen[str]:
    frame = ethernet(ipv4(PEER[4], DIRECTOR[4], 17, udp(5, 9, bytes(18))), IPV4, dst=two.mac)
    arguments = ["far0", frame.hex(), str(seconds)]
    command = ["ip", "netns", "exec", two.peer.name, sys.executable, "-c", FLOOD, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@dataclass
class Found:
    """Of one run model: the probes of each class, without and with the flood."""

    quiet: dict[str, Probes]
    flooded: dict[str, Probes]
    flood_rate: float  # packets a second
    counters: dict[str, int]


def probe(two: Two, director: Director, seconds: float) -> Found:
    prober = Prober(two)
    try:
        with echo(two, list(UDP_PORTS.values())):
            quiet = prober.run(seconds)
            with flood(two, seconds + LINGER_S) as sender:
                director.wait_for("punt_limited", 1000)
                flooded = prober.run(seconds)
                assert sender.stdout
                rate = int(sender.stdout.read()) / (seconds + LINGER_S)
    finally:
        prober.close()
    return Found(quiet, flooded, rate, director.counters())


def measure(run_model: str, workers: int, seconds: float, rate: int, preferred: bool) -> Found:
    two, name = Two(), f"bench-punt-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="glb-bench-") as work:
        document = config(
            name, Path(work), AF_PACKET, forward={"run_model": run_model}, punt={"other_rate": rate},
            eal={"workers": workers, "args": ["--no-huge", "-m", "160", "--no-pci"]},
        )  # fmt: skip
        document["port"][0] |= {"punt": "tap", "punt_interface": TAP}
        director = Director(Path(work), document, two.prefix)
        snapshot(director.snapshot)
        try:
            director.start()
            if preferred:
                prefer(director.pid)
            Two.give(TAP, two.director, DIRECTOR)
            ping(two.peer, DIRECTOR[4])
            return probe(two, director, seconds)
        finally:
            if director.pid:
                director.kill()
            forwarder.remove_traces(name)
            two.close()


def figures(rounds: int, seconds: float, preferred: bool) -> Iterator[results.Result]:
    for run_model, workers in RUN_MODELS:
        found = [measure(run_model, workers, seconds, RATE, preferred) for _ in range(rounds)]
        for kind in ("neighbour", *UDP_PORTS):
            flooded = [each.flooded[kind] for each in found]
            name = f"punt-{run_model}-{kind}"
            yield results.summarise(f"{name}-lost", "%", [each.lost_percent for each in flooded], None)
            if all(each.times_s for each in flooded):
                yield results.summarise(f"{name}-answer", "ms", [each.median_ms for each in flooded], None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5, help="of probes, each time")
    parser.add_argument("--rate", type=int, default=RATE, help="punt.other_rate")
    parser.add_argument("--prefer", action="store_true", help="highest scheduling weight for the forwarder")
    options = parser.parse_args()
    for run_model, workers in RUN_MODELS:
        found = measure(run_model, workers, options.seconds, options.rate, options.prefer)
        print(
            f"{run_model}, {workers} worker(s): flood of {found.flood_rate:.0f} packets a second; "
            f"{found.counters['punt_limited']} above the rate, "
            f"{found.counters['steer_ring_full']} at full rings"
        )
        for kind, quiet in found.quiet.items():
            print(f"  {kind:10} quiet {quiet}; flood {found.flooded[kind]}")


if __name__ == "__main__":
    main()
