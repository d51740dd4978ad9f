"""Hunting in a lab: with one slow backend, new connections find the other, and p99 falls."""

import contextlib
import itertools
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .network import BACKEND1, BACKEND2, VIPS, Network

SLOW, QUICK = 0.05, 0.001  # seconds for one request; a server works on one at a time
EVERY, CONNECTIONS = 0.02, 120  # a new connection this often, half of them with the slow backend first
PORT = 8081
SPORTS = itertools.count(20000)


class OneAtATime(threading.Thread):
    """A server that takes its time for each connection, while others wait in its accept queue."""

    def __init__(self, network: Network, index: int, seconds: float) -> None:
        super().__init__(daemon=True)
        self.seconds = seconds
        with network.redirects[index].namespace.entered():
            self.listener = socket.create_server((VIPS[4], PORT), backlog=256)

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection:
                    time.sleep(self.seconds)
                    connection.sendall(b"done")

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.join()
        self.listener.close()


@pytest.fixture(scope="module")
def network(bpffs: Path) -> Iterator[Network]:
    network = Network(bpffs)
    servers = [OneAtATime(network, 0, SLOW), OneAtATime(network, 1, QUICK)]
    for server in servers:
        server.start()
    yield network
    for server in servers:
        server.stop()
    network.delete()


def answer_times(network: Network) -> list[float]:
    """Seconds from connect to the answer; chains begin with one backend and the other in turn."""
    times: list[float] = []

    def chain(segment: p.Segment) -> list[str]:
        return [BACKEND1, BACKEND2] if segment.sport % 2 else [BACKEND2, BACKEND1]

    def client(sport: int) -> None:
        with network.spaces["client"].entered():
            connection = socket.socket()
        with connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.settimeout(30)
            connection.bind(("10.77.0.100", sport))
            begin = time.monotonic()
            connection.connect((VIPS[4], PORT))
            assert connection.recv(100) == b"done"
            times.append(time.monotonic() - begin)

    network.director.chain = chain
    threads = []
    for sport in itertools.islice(SPORTS, CONNECTIONS):
        threads.append(threading.Thread(target=client, args=(sport,)))
        threads[-1].start()
        time.sleep(EVERY)
    for thread in threads:
        thread.join()
    assert len(times) == CONNECTIONS
    return times


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


def test_slowest_answers_come_sooner(network: Network) -> None:
    plain = p99(answer_times(network))
    figures = [f"plain hashing {plain * 1000:.0f} ms"]
    for choice in ("queue<1", "queue<auto"):
        for redirect in network.redirects:
            redirect.attach("--service", f"tcp:{VIPS[4]}:{PORT}={choice}")
        before = network.redirects[0].counters()
        hunting = p99(answer_times(network))
        after = network.redirects[0].counters()
        figures.append(f"{choice} {hunting * 1000:.0f} ms")
        assert after["forwarded_new"] > before["forwarded_new"]
        assert hunting < plain / 2
    print("p99:", ", ".join(figures))
