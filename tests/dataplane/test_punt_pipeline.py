"""Punt in a pipeline: any worker hands packets to the kernel, the first sender those that come from it."""

import os
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from echoing import exchange
from oracle.build import ARP, IPV4, ethernet, ipv4, tcp, udp

from dataplane.rig import VIP, Director, Wire, ping
from dataplane.test_punt import (
    DIRECTOR,
    PEER,
    PIPELINE_ARGS,
    Speaker,
    Two,
    neighbours,
    speakers,
    start,
    two,
)
from dataplane.test_watchdog import stopped, wait, worker_thread

__all__ = ["speakers", "two"]

Make = Callable[..., Director]
Name = Callable[[str], str]

WORKERS = 2
BURST = 32  # of a class in each worker at once, however low its rate
RING = 1024  # eal.ring_size


def pipeline(
    make: Make, name: Name, two: Two, workers: int = WORKERS, senders: int = 1, **rates: int
) -> Director:
    eal = {"workers": workers, "senders": senders, "args": PIPELINE_ARGS}
    return start(make, name, two, forward={"run_model": "pipeline"}, eal=eal, punt=rates)


@pytest.fixture
def wire(two: Two) -> Iterator[Wire]:
    with two.peer.entered():
        made = Wire("far0")
    yield made
    made.close()


@pytest.mark.parametrize(("workers", "senders"), [(WORKERS, 1), (1, 0)])
def test_the_kernel_is_reachable(
    make: Make, name: Name, two: Two, speakers: Callable[[int], Speaker], wire: Wire, workers: int,
    senders: int,
) -> None:  # fmt: skip
    """Both ways, beside packets to a VIP, by all workers; all of it is counted."""
    director = pipeline(make, name, two, workers, senders)
    for family in (4, 6):
        assert ping(two.peer, DIRECTOR[family])[1] == 10
        assert ping(two.director, PEER[family], "-s", "1400")[1] == 10
        assert neighbours(two.peer, "far0")[DIRECTOR[family]] == two.mac
        speaker = speakers(family)
        for _ in range(6):
            with speaker.connect() as session:
                exchange(session, os.urandom(50000))
    wire.send(
        (ethernet(ipv4(PEER[4], VIP, 6, tcp(port, 80)), IPV4, dst=two.mac) for port in range(1024, 1124)),
        pace_s=0.0005,
    )
    assert len(wire.receive(100)) == 100
    status = director.client.status()
    punt = status.punt[0]
    assert punt.classes["neighbour"].to_kernel >= 2
    assert punt.classes["routing"].to_kernel > 100
    assert punt.classes["other"].to_kernel >= 40
    assert punt.from_kernel_dropped == 0
    assert all(each.limited == each.queue_full == each.refused == 0 for each in punt.classes.values())
    workers = [lcore for lcore in status.workers if lcore.role == "worker"]
    assert all(worker.rx_packets > 50 for worker in workers)
    assert director.terminate() == 0


def frames_of(two: Two, kind: str, number: int) -> list[bytes]:
    """That many packets of a class, each of another flow where there are flows."""
    flows = range(1024, 1024 + number)
    match kind:
        case "neighbour":
            addresses = socket.inet_aton(PEER[4]) + bytes(6) + socket.inet_aton(DIRECTOR[4])
            request = bytes.fromhex("00010800060400010200000000aa") + addresses
            return [ethernet(request, ARP, dst="ff:ff:ff:ff:ff:ff")] * number
        case "routing":
            return [
                ethernet(ipv4(PEER[4], DIRECTOR[4], 6, tcp(port, 179)), IPV4, dst=two.mac) for port in flows
            ]
        case _:
            return [
                ethernet(ipv4(PEER[4], DIRECTOR[4], 17, udp(port, 9)), IPV4, dst=two.mac) for port in flows
            ]


def test_each_class_keeps_to_its_rate(make: Make, name: Name, two: Two, wire: Wire) -> None:
    """Of each worker; what one class has used up is still there for the others."""
    began = time.monotonic()
    director = pipeline(make, name, two, neighbour_rate=1, routing_rate=1, other_rate=1)
    number, spent = 300, set[str]()
    for kind in ("other", "routing", "neighbour"):
        wire.send(frames_of(two, kind, number), pace_s=0.0002)

        def seen(kind: str = kind) -> int:
            each = director.client.status().punt[0].classes[kind]
            return each.limited + each.to_kernel

        assert wait(lambda: seen() >= number)
        classes = director.client.status().punt[0].classes
        found = classes[kind]
        lanes = 1 if kind == "neighbour" else WORKERS  # frames without flow are one worker's
        passed = time.monotonic() - began
        assert BURST * lanes <= found.to_kernel <= (BURST + passed) * WORKERS
        assert number <= found.limited + found.to_kernel <= number + 60  # the peer's kernel has some, too
        spent.add(kind)
        assert all(classes[each].limited == 0 for each in classes.keys() - spent), kind
    counters = director.counters()
    classes = director.client.status().punt[0].classes
    assert counters["punt_limited"] == sum(each.limited for each in classes.values())


def test_a_full_ring_is_full_for_the_rest_first(make: Make, name: Name, two: Two, wire: Wire) -> None:
    """A worker that does nothing for a while: its ring still takes neighbours and routing."""
    director = pipeline(make, name, two, workers=1)
    urgent = frames_of(two, "neighbour", 30) + frames_of(two, "routing", 20)
    before = director.client.status().punt[0].classes
    with stopped(worker_thread(director.pid)):
        wire.send(frames_of(two, "other", 3000), pace_s=0.0001)
        director.wait_for("steer_ring_full", 3000 - RING)
        wire.send(urgent, pace_s=0.0005)
        time.sleep(0.2)
    assert wait(lambda: director.client.status().punt[0].classes["routing"].to_kernel == 20)
    classes = director.client.status().punt[0].classes
    assert classes["neighbour"].to_kernel >= before["neighbour"].to_kernel + 30
    handled = classes["other"].to_kernel + classes["other"].limited + classes["other"].queue_full
    assert handled <= RING
    assert director.counters()["steer_ring_full"] >= 3000 - RING
