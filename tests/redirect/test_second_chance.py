"""Connections of a real client survive changes of their chain, on two real backends."""

import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .network import BACKEND1, BACKEND2, PORT, VIPS, Network
from .rawclient import Wire

FIRST, SECOND = [BACKEND1, BACKEND2], [BACKEND2, BACKEND1]
ROUTERS = {4: "192.0.2.1", 6: "2001:db8:2::1"}
IPV6_MTU = 24  # <linux/in6.h>; works on sockets of IPv4 clients too
NAMES = [b"backend1", b"backend2"]


@pytest.fixture(scope="module", params=["tc", "xdp"])
def network(bpffs: Path, request: pytest.FixtureRequest) -> Iterator[Network]:
    network = Network(bpffs, request.param)
    yield network
    network.delete()


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=[False, True], ids=["zero", "computed"])
def sum_udp(request: pytest.FixtureRequest, network: Network) -> bool:
    network.director.sum_udp = bool(request.param)
    return bool(request.param)


def use(network: Network, chain: list[str]) -> None:
    network.director.chain = lambda segment: chain


def counters(network: Network) -> list[dict[str, int]]:
    return [redirect.counters() for redirect in network.redirects]


def read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := client.recv(65536)):
        data += more
    return data


def echo(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    assert read(client, len(data)) == data


def test_established_on_second_hop(network: Network, family: int, sum_udp: bool) -> None:
    use(network, SECOND)
    with network.connect(family) as client:
        assert read(client, len(NAMES[1])) == NAMES[1]
        before = counters(network)
        use(network, FIRST)
        echo(client, b"x" * 30_000)
        after = counters(network)
    went_on = after[0]["forwarded"] - before[0]["forwarded"]
    assert went_on >= 30_000 // 1460
    assert after[1]["local_established"] - before[1]["local_established"] >= 30_000 // 1460
    assert after[1]["forwarded"] == before[1]["forwarded"]


def test_new_connections_go_to_first_hop(network: Network, family: int) -> None:
    for chain, name in ((FIRST, NAMES[0]), (SECOND, NAMES[1])):
        use(network, chain)
        with network.connect(family) as client:
            assert read(client, len(name)) == name


def test_half_open_on_both_after_a_swap(network: Network, family: int) -> None:
    """The client's ACK meets the other backend's request for the same SYN first."""
    before = counters(network)
    syns = 0

    def chain(segment: p.Segment) -> list[str]:
        nonlocal syns
        if segment.flags & p.SYN:
            syns += 1
            return FIRST if syns == 1 else SECOND
        return FIRST

    network.director.chain = chain
    with network.deaf("backend1", family):
        client = network.connect(family)  # the first SYN's answer is lost, the second's is not
    with client:
        assert syns == 2
        assert read(client, len(NAMES[1])) == NAMES[1]
        echo(client, b"y" * 5000)
    after = counters(network)
    assert after[0]["local_syn"] - before[0]["local_syn"] == 1
    assert after[0]["forwarded"] > before[0]["forwarded"]
    assert after[0]["local_request"] == before[0]["local_request"]
    assert after[1]["local_request"] - before[1]["local_request"] >= 1


def test_reused_tuple_in_time_wait_on_the_other(network: Network, family: int) -> None:
    use(network, FIRST)
    with network.connect(family) as client:
        sport = client.getsockname()[1]
        assert read(client, len(NAMES[0])) == NAMES[0]
        client.sendall(b"quit")
        assert client.recv(100) == b""  # the backend closed first
    until = time.monotonic() + 5
    listing = ""
    while f":{sport}" not in listing:
        assert time.monotonic() < until
        listing = network.spaces["backend1"].run("ss", "-Htn", "state", "time-wait")
    use(network, SECOND)
    before = counters(network)
    with network.connect(family, sport) as client:
        assert read(client, len(NAMES[1])) == NAMES[1]
        use(network, FIRST)
        echo(client, b"z" * 5000)
        after = counters(network)
        assert f":{sport}" in network.spaces["backend1"].run("ss", "-Htn", "state", "time-wait")
    assert after[0]["forwarded"] > before[0]["forwarded"]
    assert after[0]["local_timewait"] == before[0]["local_timewait"]
    assert after[1]["local_established"] > before[1]["local_established"]


def by_a_cookie(network: Network, family: int) -> list[Counter[str]]:
    """What the backends count for a connection with the second one's cookie that goes on by the first."""
    for name in ("backend1", "backend2"):
        network.spaces[name].sysctl("net.ipv4.tcp_syncookies", 2)
    try:
        before = counters(network)
        network.director.chain = lambda segment: SECOND if segment.flags & p.SYN else FIRST
        with network.connect(family) as client:
            assert read(client, len(NAMES[1])) == NAMES[1]
            echo(client, b"c" * 3000)
        after = counters(network)
    finally:
        for name in ("backend1", "backend2"):
            network.spaces[name].sysctl("net.ipv4.tcp_syncookies", 1)
    return [Counter(new) - Counter(old) for new, old in zip(after, before, strict=True)]


def test_syn_cookie_by_way_of_the_first_hop(network: Network, family: int) -> None:
    first, second = by_a_cookie(network, family)
    assert first["forwarded"] > 0
    assert first["local_syncookie"] == 0
    assert second["local_syncookie"] >= 1


def test_too_big_reaches_the_connection(network: Network, family: int) -> None:
    """A router's too-big, sent to the first hop, lowers the path MTU of the second's socket."""
    use(network, SECOND)
    with network.connect(family) as client:
        sport = client.getsockname()[1]
        assert read(client, len(NAMES[1])) == NAMES[1]
        server = network.servers[1].accepted[-1]
        assert path_mtu(server) >= 1500
        wire = Wire(network.spaces["director"], "eth0")
        # The kernel believes only a quote that is still in flight, so nothing may be acknowledged meanwhile.
        with network.deaf("backend2", family):
            server.sendall(b"d" * 1000)
            flying = wire.expect(lambda segment: segment.sport == PORT and segment.dport == sport)
            wire.close()
            before = counters(network)
            packet = p.too_big(ROUTERS[family], VIPS[family], 1300, flying.packet)
            network.director.send(packet, FIRST)
            until = time.monotonic() + 3
            while path_mtu(server) != 1300:
                assert time.monotonic() < until
                time.sleep(0.02)
        after = counters(network)
        assert after[0]["forwarded"] - before[0]["forwarded"] == 1
        assert after[1]["local_too_big"] - before[1]["local_too_big"] == 1
        assert read(client, 1000) == b"d" * 1000
        use(network, FIRST)
        echo(client, b"e" * 5000)


def path_mtu(connection: socket.socket) -> int:
    return connection.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)


def test_every_received_packet_has_one_reason(network: Network) -> None:
    for moved in counters(network):
        assert moved["received"] > 0
        assert moved["received"] == sum(moved.values()) - moved["received"] - moved["not_gue"]
