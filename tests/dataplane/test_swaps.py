"""While snapshots are swapped, each packet goes whole by one of them: chain, source and all."""

import threading
import time
from collections.abc import Callable

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import VIP, Director, Segment, snapshot

AF_PACKET = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"
INNER = 20 + 20  # bytes of a client's packet
FLOWS = range(1024, 1224)
SECONDS = 3


@pytest.mark.parametrize("run_model", ["run-to-completion", "pipeline"])
def test_each_packet_goes_by_one_of_the_snapshots(
    make: Callable[..., Director], name: Callable[[str], str], segment: Segment, run_model: str
) -> None:
    """Two snapshots that have no backend in common, a hundred times a second in turn."""
    director = make(name("s"), AF_PACKET, prefix=segment.prefix, forward={"run_model": run_model})
    files = [
        snapshot(director.folder / f"{n}.glb", revision=n, backends=[f"10.{n}.0.{b}" for b in (1, 2, 3)])
        for n in (1, 2)
    ]
    director.snapshot.write_bytes(files[0].read_bytes())
    director.start()

    def forwarded() -> list[bytes]:
        count = segment.wire.send(
            ethernet(ipv4("192.0.2.77", VIP, 6, tcp(sport, 80)), IPV4, dst=segment.mac) for sport in FLOWS
        )
        frames = segment.wire.receive(count, 5)
        assert len(frames) == count
        return frames

    wanted: list[dict[bytes, bytes]] = []
    for file in files:
        director.client.load(file)
        wanted.append({frame[-INNER:]: frame for frame in forwarded()})
        assert len(wanted[-1]) == len(FLOWS)
    assert all(wanted[0][inner] != wanted[1][inner] for inner in wanted[0])

    done, loads = threading.Event(), 0
    problems: list[Exception] = []

    def swap() -> None:
        nonlocal loads
        try:
            while not done.is_set():
                director.client.load(files[loads % 2])
                loads += 1
                time.sleep(0.01)
        except Exception as error:
            problems.append(error)

    thread = threading.Thread(target=swap)
    thread.start()
    by = [0, 0]
    deadline = time.monotonic() + SECONDS
    try:
        while time.monotonic() < deadline or min(by) == 0 or (loads < 40 and not problems):
            for frame in forwarded():
                ways = [n for n in (0, 1) if wanted[n][frame[-INNER:]] == frame]
                assert len(ways) == 1, "neither as the one nor as the other snapshot says"
                by[ways[0]] += 1
            assert time.monotonic() < deadline + 20
    finally:
        done.set()
        thread.join()
    assert not problems
    assert loads >= 40
