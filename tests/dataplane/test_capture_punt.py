"""`glb capture` sees what does not reach the kernel: above its class's rate, or with its queue full."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from oracle.build import IPV4, ethernet, ipv4, udp

from dataplane.rig import Director, Wire
from dataplane.test_capture import capturing, comments
from dataplane.test_punt import DIRECTOR, PEER, Two, start, two
from dataplane.test_watchdog import stopped
from glbpy import pcap

__all__ = ["two"]

Make = Callable[..., Director]
Name = Callable[[str], str]

QUEUE = 1023  # packets of a class that wait at most


def thread(pid: int, name: str) -> int:
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            return int(task.name)
    raise AssertionError(f"there is no thread {name}")


@pytest.fixture
def frames(two: Two) -> list[bytes]:
    return [
        ethernet(ipv4(PEER[4], DIRECTOR[4], 17, udp(5, 9, n.to_bytes(4, "big") * 5)), IPV4, dst=two.mac)
        for n in range(3000)
    ]


@pytest.fixture
def wire(two: Two) -> Iterator[Wire]:
    with two.peer.entered():
        made = Wire("far0")
    yield made
    made.close()


def test_above_the_rate(
    make: Make, name: Name, two: Two, wire: Wire, frames: list[bytes], tmp_path: Path
) -> None:
    target = tmp_path / "limited.pcapng"
    director = start(make, name, two, punt={"other_rate": 1})
    with capturing(director, target, "--drop-reason", "punt_limited", "--client", PEER[4], "--count", "50"):
        wire.send(frames[:200])
    found = list(pcap.read(target).frames())
    assert set(comments(target)) == {"drop: drop (punt_limited); worker 0"}
    assert len(found) == 50
    first = frames.index(found[0])
    assert 1 <= first <= 40  # a burst may pass
    assert found == frames[first : first + 50]


def test_no_room_in_the_queue(
    make: Make, name: Name, two: Two, wire: Wire, frames: list[bytes], tmp_path: Path
) -> None:
    target = tmp_path / "full.pcapng"
    director = start(make, name, two, punt={"other_rate": 1000000})
    with stopped(thread(director.pid, "glb-punt")):
        with capturing(director, target, "--drop-reason", "punt_full", "--client", PEER[4], "--count", "20"):
            wire.send(frames, pace_s=0.0001)
        counted = director.client.status().punt[0].classes["other"]
    assert counted.queue_full >= 20
    found = list(pcap.read(target).frames())
    assert set(comments(target)) == {"drop: drop (punt_full); worker 0"}
    first = frames.index(found[0])
    assert QUEUE - 50 <= first <= QUEUE  # the peer's own multicast waits there, too
    assert found == frames[first : first + 20]
