"""How a service chooses, with a real client and real servers: maglev, weights, hash fields, source affinity.

Whom each connection gets to is compared with what libglb makes of its first packet and the snapshot in force.
"""

import itertools
import socket
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oracle.build import IPV4, IPV6, ethernet, ipv4, ipv6, tcp

from glbpy import offline
from glbpy.client import path_of
from glbpy.lab import netns, topology
from glbpy.lab.encapsulations import NAT_PORT
from glbpy.lab.lab import Lab, document
from glbpy.lab.topology import CLIENT4, CLIENT6, PORT, VIP4, VIP6
from glbpy.lab.traffic import Client, request
from tests.lab.stayers import Stayers

PROBES = 240
SOURCES = {
    4: [f"198.51.100.{n}" for n in range(64, 96)],
    6: [f"2001:db8:c::1:{n:x}" for n in range(0xF0, 0x110)],
}
FIELDS = ("src_addr", "dst_addr", "src_port", "dst_port")
MANY = {
    4: ("203.0.113.96/28", [f"203.0.113.{n}" for n in range(96, 112)]),
    6: ("2001:db8:f:3::/64", [f"2001:db8:f:3::{n:x}" for n in range(16)]),
}


def apply(lab: Lab, weights: tuple[int, ...] = (1, 1, 1), **fields: Any) -> None:
    """Give the lab's service other fields, and its backends these weights; return when that is in force."""
    whole = document(lab.backends())
    for backend, weight in zip(whole["pools"][0]["backends"], weights, strict=True):
        backend["weight"] = weight
    whole["services"][0] |= fields
    with lab.api() as api:
        lab.wait_in_force(api, api.post(path_of("apply"), whole)["revision"])


class Oracle:
    """What libglb says of first packets, by the snapshot that the director has."""

    def __init__(self, lab: Lab) -> None:
        snapshot = Path(lab.director_dir, "snapshot.glb").read_bytes()
        self.path = offline.Case(snapshot, offline.EXAMPLE).path()

    def backend(self, source: str, sport: int, vip: str, port: int = PORT) -> str:
        v6 = ":" in vip
        packet = (ipv6 if v6 else ipv4)(source, vip, 6, tcp(sport, port))
        return self.path.decide(ethernet(packet, IPV6 if v6 else IPV4)).chain[0].name


def new_connections(lab: Lab, client: Client) -> Counter[str]:
    """Open PROBES connections over both families; each must get to its row's first hop. Returns to whom."""
    oracle = Oracle(lab)
    results = [client.run(request((VIP4, VIP6)[n % 2], PORT)) for n in range(PROBES)]
    assert [str(result) for result in results if result.error] == []
    for result in results:
        source = CLIENT6 if result.vip == VIP6 else CLIENT4
        assert result.backend == oracle.backend(source, result.sport, result.vip)
    return Counter(str(result.backend) for result in results)


def test_maglev_spreads_evenly_and_keeps_connections_through_a_drain(lab: Lab, client: Client) -> None:
    names = lab.state().backends
    apply(lab, algorithm="maglev", hops=2)
    counts = new_connections(lab, client)
    assert all(PROBES / 6 < counts[name] < PROBES / 2 for name in names), counts
    with Stayers(client) as stayers:
        lab.drain(names[0])
        stayers.exercise()
        assert set(new_connections(lab, client)) == set(names[1:])
        lab.drain(names[0], undrain=True)
        stayers.exercise()
        assert set(new_connections(lab, client)) == set(names)
        stayers.finish()


def test_weights_share_out_new_connections_and_0_keeps_the_old_ones(lab: Lab, client: Client) -> None:
    one, three, none = lab.state().backends
    apply(lab, hops=3)
    with Stayers(client) as stayers:
        assert stayers.on(none) > 20
        apply(lab, (1, 3, 0), hops=3)
        stayers.exercise()
        counts = new_connections(lab, client)
        assert counts[none] == 0
        assert 0.6 < counts[three] / PROBES < 0.9
        assert counts[one] + counts[three] == PROBES
        stayers.exercise()
        assert stayers.on(none) > 20
        stayers.finish()


@pytest.fixture
def clients(lab: Lab) -> Iterator[None]:
    """The client has all of SOURCES."""
    namespace = lab.state().namespaces.client
    every = [f"{source}/{32 if v == 4 else 128}" for v, sources in SOURCES.items() for source in sources]
    nodad = {each: " nodad" if ":" in each else "" for each in every}
    netns.ip(namespace, [f"address replace {each} dev eth0{nodad[each]}" for each in every])
    yield
    netns.ip(namespace, [f"address del {each} dev eth0" for each in every])


@pytest.fixture
def prefixes(lab: Lab) -> None:
    """Whole prefixes lead to the directors, and are their backends' own."""
    topology.route_vips(lab.name, lab.directors(), [prefix for prefix, _ in MANY.values()])
    for each in lab.backends():
        netns.ip(each.ns, [f"route replace local {prefix} dev lo" for prefix, _ in MANY.values()])


@pytest.mark.parametrize("v", [4, 6])
@pytest.mark.parametrize(
    "fields",
    [
        ["src_port"],
        ["dst_addr"],
        ["dst_port"],
        ["src_addr", "dst_addr"],
        ["src_port", "dst_port"],
        list(FIELDS),
    ],
    ids="+".join,
)
def test_hash_fields_and_nothing_else_decide(
    lab: Lab, clients: None, prefixes: None, fields: list[str], v: int
) -> None:
    """Connections of 2 addresses to 2 ports, each with each; 16 ports and 2 VIPs, or the other way round."""
    apply(lab, vips=[prefix for prefix, _ in MANY.values()], ports=[PORT, NAT_PORT], hash_fields=fields)
    oracle, namespace = Oracle(lab), lab.state().namespaces.client
    sports, vips = (2, 16) if "dst_addr" in fields else (16, 2)
    every = (SOURCES[v][:2], range(20000, 20000 + sports), MANY[v][1][:vips], (PORT, NAT_PORT))
    answers: dict[tuple[str | int, ...], set[str]] = defaultdict(set)
    for source, sport, vip, port in itertools.product(*every):
        backend, _ = ask(namespace, source, vip, port, sport)
        assert backend == oracle.backend(source, sport, vip, port)
        values = dict(zip(FIELDS, (source, vip, sport, port), strict=True))
        answers[tuple(values[field] for field in fields)].add(backend)
    assert {len(each) for each in answers.values()} == {1}
    if len(answers) >= 16:  # two rows may well have one backend
        assert len(set.union(*answers.values())) > 1


@pytest.mark.parametrize("v", [4, 6])
def test_source_affinity_keeps_a_network_together(lab: Lab, clients: None, v: int) -> None:
    """32 clients of two networks, /28 and /120, and several connections of each."""
    namespace, vip = lab.state().namespaces.client, {4: VIP4, 6: VIP6}[v]
    apply(lab, hash_fields=["src_addr"], source_affinity={"v4_bits": 28, "v6_bits": 120})
    oracle = Oracle(lab)
    networks = []
    for half in (SOURCES[v][:16], SOURCES[v][16:]):
        answers = set()
        for source in half:
            for _ in range(3):
                backend, sport = ask(namespace, source, vip)
                assert backend == oracle.backend(source, sport, vip)
                answers.add(backend)
        assert len(answers) == 1
        networks.append(answers)
    apply(lab, hash_fields=["src_addr"])  # each address by itself
    assert len({ask(namespace, source, vip)[0] for source in SOURCES[v]}) > 1


def ask(namespace: str, source: str, vip: str, port: int = PORT, sport: int = 0) -> tuple[str, int]:
    """Return who answers a request from this address and port (0: any), and the port that it came from."""
    with netns.entered(namespace):
        client = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET)
    with client:
        client.settimeout(5)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((source, sport))
        client.connect((vip, port))
        client.sendall(b"GET / HTTP/1.0\r\nHost: lab\r\n\r\n")
        with client.makefile("rb") as answer:
            lines = answer.read().decode().lower().split("\r\n")
        [backend] = [line.partition(": ")[2] for line in lines if line.startswith("x-backend: ")]
        return backend, client.getsockname()[1]
