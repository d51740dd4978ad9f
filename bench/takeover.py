"""Hand-overs and restarts under traffic: packets lost and doubled.

Run as root: .venv/bin/python bench/takeover.py. Numbered packets go over a veth to a forwarder while it is
replaced; what comes back is counted by number.
"""

import json
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from dataplane.rig import VIP, Director, Segment, config, snapshot  # noqa: E402
from oracle.build import IPV4, ethernet, ipv4, tcp  # noqa: E402

from glbpy import engine, forwarder  # noqa: E402
from glbpy.upgrade import upgrade  # noqa: E402

ROUNDS = 10
PACE_S = 0.00005


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


def run_round(segment: Segment, director: Director, hand_over: bool) -> dict[str, float]:
    done = threading.Event()
    sent, frames, threads = traffic(segment, done)
    time.sleep(0.5)
    begin = time.monotonic()
    overlap_us = 0
    if hand_over:
        result = upgrade(engine.read_config(director.toml))
        director.pid, overlap_us = result.new_pid, result.overlap_us
    else:
        director.client.stop()
        assert forwarder.wait_gone(director.pid)
        director.start()
    took = time.monotonic() - begin
    time.sleep(0.5)
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


def measure(driver: str, hand_over: bool) -> dict[str, object]:
    segment = Segment()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        director = Director(place, config("bench-takeover", place, driver), segment.prefix)
        snapshot(director.snapshot)
        director.start()
        try:
            rounds = [run_round(segment, director, hand_over) for _ in range(ROUNDS)]
        finally:
            director.kill()
            forwarder.remove_traces("bench-takeover")
            segment.close()
    return {
        "port": driver.partition("0,")[0], "how": "hand-over" if hand_over else "restart", "rounds": ROUNDS,
        **{f"median_{key}": statistics.median(each[key] for each in rounds) for key in rounds[0]},
        "most_lost": max(each["lost"] for each in rounds),
        "most_doubled": max(each["doubled"] for each in rounds),
    }  # fmt: skip


if __name__ == "__main__":
    af_packet = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"
    for driver, hand_over in (
        (af_packet, True), (af_packet, False), ("net_af_xdp0,iface=director0", False)
    ):  # fmt: skip
        print(json.dumps(measure(driver, hand_over)), flush=True)
