"""How a service chooses, with a real client and real servers: maglev, weights, and source affinity.

Whom each connection gets to is compared with what libglb makes of its first packet and the snapshot in force.
"""

import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from oracle.build import IPV4, IPV6, ethernet, ipv4, ipv6, tcp

from glbpy import offline
from glbpy.client import path_of
from glbpy.lab import netns
from glbpy.lab.lab import Lab, document
from glbpy.lab.topology import CLIENT4, CLIENT6, PORT, VIP4, VIP6
from glbpy.lab.traffic import Client, request
from tests.lab.stayers import Stayers

PROBES = 240
SOURCES = {
    4: [f"198.51.100.{n}" for n in range(64, 96)],
    6: [f"2001:db8:c::1:{n:x}" for n in range(0xF0, 0x110)],
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

    def backend(self, source: str, sport: int, vip: str) -> str:
        v6 = ":" in vip
        packet = (ipv6 if v6 else ipv4)(source, vip, 6, tcp(sport, PORT))
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
    apply(lab, algorithm="maglev")
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


@pytest.mark.parametrize("v", [4, 6])
def test_source_affinity_keeps_a_network_together(lab: Lab, v: int) -> None:
    """32 clients of two networks, /28 and /120, and several connections of each."""
    namespace, vip = lab.state().namespaces.client, {4: VIP4, 6: VIP6}[v]
    apply(lab, hash_fields=["src_addr"], source_affinity={"v4_bits": 28, "v6_bits": 120})
    bits = {4: "32", 6: "128 nodad"}[v]
    netns.ip(namespace, [f"address replace {source}/{bits} dev eth0" for source in SOURCES[v]])
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
    netns.ip(namespace, [f"address del {source}/{bits.split()[0]} dev eth0" for source in SOURCES[v]])


def ask(namespace: str, source: str, vip: str) -> tuple[str, int]:
    """Return who answers a request from this address, and the port that it came from."""
    with netns.entered(namespace):
        client = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET)
    with client:
        client.settimeout(5)
        client.bind((source, 0))
        client.connect((vip, PORT))
        client.sendall(b"GET / HTTP/1.0\r\nHost: lab\r\n\r\n")
        with client.makefile("rb") as answer:
            lines = answer.read().decode().lower().split("\r\n")
        [backend] = [line.partition(": ")[2] for line in lines if line.startswith("x-backend: ")]
        return backend, client.getsockname()[1]
