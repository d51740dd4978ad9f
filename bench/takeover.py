"""Hand-overs and restarts under traffic: packets lost and doubled.

Run as root: .venv/bin/python bench/takeover.py. Numbered packets go over a veth to a forwarder while it is
replaced; what comes back is counted by number.
"""

import argparse
import json
import os
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import results  # noqa: E402
from dataplane.rig import VIP, Director, Segment, config, snapshot  # noqa: E402
from oracle.build import IPV4, ethernet, ipv4, tcp  # noqa: E402

from glbpy import engine, forwarder  # noqa: E402
from glbpy.upgrade import upgrade  # noqa: E402

PACE_S = 0.00005
AF_PACKET = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"


@dataclass(frozen=True)
class Way:
    name: str
    driver: str
    hand_over: bool


WAYS = (
    Way("upgrade-af-packet", AF_PACKET, True),
    Way("restart-af-packet", AF_PACKET, False),
    Way("restart-af-xdp", "net_af_xdp0,iface=director0", False),
)


def traffic(segment: Segment, work: threading.Event) -> tuple[list[int], list[bytes], list[threading.Thread]]:
    sent = [0]
    frames: list[bytes] = []

    def send() -> None:
        while not work.is_set():
            payload = tcp(1024 + sent[0] % 40000, 80, struct.pack("!I", sent[0]))
            segment.wire.send([ethernet(ipv4("192.0.2.77", VIP, 6, payload), IPV4, dst=segment.mac)])
            sent[0] += 1
            time.sleep(PACE_S)

    def receive() -> None:
        while not work.is_set():
            frames.extend(segment.wire.receive(1000, 0.2))

    threads = [threading.Thread(target=send), threading.Thread(target=receive)]
    for thread in threads:
        thread.start()
    return sent, frames, threads


def replace(director: Director, hand_over: bool) -> int:
    """Put another process in the forwarder's place; return for how many µs both forwarded."""
    if hand_over:
        result = upgrade(engine.read_config(director.toml))
        director.pid = result.new_pid
        return result.overlap_us
    director.client.stop()
    assert forwarder.wait_gone(director.pid)
    director.start()
    return 0


def run_round(segment: Segment, director: Director, hand_over: bool) -> dict[str, float]:
    done = threading.Event()
    sent, frames, threads = traffic(segment, done)
    try:
        time.sleep(0.5)
        begin = time.monotonic()
        overlap_us = replace(director, hand_over)
        took = time.monotonic() - begin
        time.sleep(0.5)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    frames += segment.wire.receive(100000, 1)
    seen = Counter(struct.unpack("!I", frame[-4:])[0] for frame in frames)
    return {
        "sent": sent[0], "lost": sent[0] - len(seen), "doubled": sum(seen.values()) - len(seen),
        "overlap_us": overlap_us, "took_ms": round(took * 1000),
        "rate_pps": round(sent[0] / (took + 1)),
    }  # fmt: skip


def measure(way: Way, rounds: int) -> list[dict[str, float]]:
    """Return what was seen in each round."""
    name, segment = f"bench-takeover-{os.getpid()}", Segment()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        director = Director(place, config(name, place, way.driver), segment.prefix)
        try:
            snapshot(director.snapshot)
            director.start()
            return [run_round(segment, director, way.hand_over) for _ in range(rounds)]
        finally:
            if director.pid:
                director.kill()
            forwarder.remove_traces(name)
            segment.close()


def figures(rounds: int) -> Iterator[results.Result]:
    """Packets lost and doubled; a hand-over on af_packet may lose none."""
    for way in WAYS:
        found = measure(way, rounds)

        def one(
            figure: str, unit: str, key: str, target: float | None = None, scale: float = 1, way: Way = way,
            found: list[dict[str, float]] = found,
        ) -> results.Result:  # fmt: skip
            values = [each[key] * scale for each in found]
            return results.summarise(f"{way.name}-{figure}", unit, values, target)

        yield one("lost", "packets", "lost", 0 if way.hand_over else None)
        yield one("twice", "packets", "doubled")
        yield one("took", "ms", "took_ms")
        if way.hand_over:
            yield one("both-forward", "ms", "overlap_us", scale=0.001)
        yield one("sent", "a second", "rate_pps")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    for way in WAYS:
        found = measure(way, options.rounds)
        medians = {f"median_{key}": statistics.median(each[key] for each in found) for key in found[0]}
        most = {f"most_{key}": max(each[key] for each in found) for key in ("lost", "doubled")}
        print(json.dumps({"how": way.name, "rounds": options.rounds, **medians, **most}), flush=True)


if __name__ == "__main__":
    main()
