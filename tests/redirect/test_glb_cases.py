"""The cases of GLB's own redirect tests, with one real backend in front of another. Table: tests/README.md.

As there, the machine that wraps the packets is the client and the chain's last hop, too: what nobody knows
comes back.
"""

import itertools
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import packets as p
from .network import BACKEND1, BACKEND2, DIRECTOR, PORT, VIPS, Network
from .rawclient import Wire

SELF = {4: DIRECTOR, 6: "fd77::1"}
HOSTS = {4: {"backend1": BACKEND1, "backend2": BACKEND2}, 6: {"backend1": "fd77::11", "backend2": "fd77::12"}}
ROUTERS = {4: "192.0.2.1", 6: "2001:db8:2::1"}
TOO_BIG = {4: 800, 6: 1400}
ECHO = {4: (8, 0), 6: (128, 129)}
SPORTS = itertools.count(30000)

pytestmark = pytest.mark.parametrize("family", [4, 6], ids=["v4-on-v4", "v6-on-v4"])


@pytest.fixture(scope="module")
def network(bpffs: Path) -> Iterator[Network]:
    network = Network(bpffs)
    for redirect in network.redirects:
        redirect.must("allow", "add", DIRECTOR, "--peer")
    yield network
    network.delete()


@pytest.fixture
def wire(network: Network) -> Iterator[Wire]:
    wire = Wire(network.spaces["director"], "eth0")
    yield wire
    wire.close()


def receive(wire: Wire, fits: Callable[[bytes], bool]) -> bytes:
    """The next IP packet that came in and fits."""
    wire.socket.settimeout(3)
    while True:
        frame, origin = wire.socket.recvfrom(65536)
        if origin[2] != socket.PACKET_OUTGOING and fits(frame[14:]):
            return frame[14:]


class Flow:
    """A connection by single packets, each through a chain that the test says."""

    def __init__(self, network: Network, wire: Wire, family: int, there: str, dport: int = PORT) -> None:
        self.network, self.wire, self.here, self.there = network, wire, SELF[family], there
        self.sport, self.dport, self.seq, self.ack = next(SPORTS), dport, 1_000_000, 0

    def send(self, flags: int, *chain: str) -> bytes:
        packet = p.tcp(self.here, self.sport, self.there, self.dport, flags, seq=self.seq, ack=self.ack)
        self.network.director.send(packet, list(chain))
        return packet

    def expect(self, flags: int) -> p.Segment:
        return self.wire.expect(
            lambda s: (
                (s.src, s.sport, s.dst, s.dport) == (self.there, self.dport, self.here, self.sport)
                and s.flags == flags
            )
        )

    def half_open(self, backend: str) -> None:
        self.send(p.SYN, backend)
        answer = self.expect(p.SYN | p.ACK)
        assert answer.ack == self.seq + 1
        self.seq, self.ack = answer.ack, answer.seq + 1


@pytest.mark.parametrize("name", ["backend1", "backend2"])
def test_icmp_accepted(network: Network, wire: Wire, family: int, name: str) -> None:
    there, (request, reply) = HOSTS[family][name], ECHO[family]
    inner = p.icmp(SELF[family], there, request, 0, struct.pack("!HH", 7, 1), b"hello")
    network.director.send(inner, [HOSTS[4][name], BACKEND2])
    answer = p.icmp(there, SELF[family], reply, 0, struct.pack("!HH", 7, 1), b"hello")
    at = 40 if family == 6 else 20
    got = receive(wire, lambda packet: packet[at:] == answer[at:])
    assert p.Segment(bytes(14) + got).src == there


def test_syn_accepted(network: Network, wire: Wire, family: int) -> None:
    flow = Flow(network, wire, family, HOSTS[family]["backend1"])
    flow.send(p.SYN, BACKEND1, BACKEND2)
    assert flow.expect(p.SYN | p.ACK).ack == flow.seq + 1


def test_unknown_redirected_through_chain(network: Network, wire: Wire, family: int) -> None:
    """It comes back whole, from the last but one, with the port it left from and its chain used up."""
    flow = Flow(network, wire, family, VIPS[family])
    inner = flow.send(p.ACK, BACKEND1, BACKEND2, DIRECTOR)
    outer = receive(wire, lambda packet: packet[9] == 17 and packet[-len(inner) :] == inner)
    hops = [BACKEND2, DIRECTOR]
    want = p.gue(inner, src=BACKEND2, dst=DIRECTOR, hops=hops, next_hop=2)
    assert outer[12:] == want[12:]


def test_accepted_on_secondary_chain_host(network: Network, wire: Wire, family: int) -> None:
    """The handshake's last packet comes by way of a backend that does not know it; the server greets."""
    flow = Flow(network, wire, family, VIPS[family])
    flow.half_open(BACKEND2)
    flow.send(p.ACK, BACKEND1, BACKEND2, DIRECTOR)
    greeting = flow.expect(p.PSH | p.ACK)
    assert greeting.packet.endswith(b"backend2")


def test_icmp_packet_too_big(network: Network, wire: Wire, family: int) -> None:
    """The second backend's stack gets it, as the router sent it."""
    kind, protocol = (
        (socket.AF_INET6, socket.IPPROTO_ICMPV6) if family == 6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    )
    flow = Flow(network, wire, family, VIPS[family])
    flow.half_open(BACKEND2)
    flow.send(p.ACK, BACKEND2)
    quoted = p.tcp(flow.there, PORT, flow.here, flow.sport, p.ACK, seq=flow.ack, ack=flow.seq)
    packet = p.too_big(ROUTERS[family], VIPS[family], TOO_BIG[family], quoted)
    flow.expect(p.PSH | p.ACK)
    with network.spaces["backend2"].entered():
        stack = socket.socket(kind, socket.SOCK_RAW, protocol)
    with stack:
        stack.settimeout(3)
        network.director.send(packet, [BACKEND1, BACKEND2, DIRECTOR])
        sender = ""
        while sender != ROUTERS[family]:
            got, (sender, *_) = stack.recvfrom(65536)
    assert got == (packet[40:] if family == 6 else packet)  # a raw IPv6 socket gets no header
