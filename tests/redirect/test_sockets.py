"""What real sockets in every state make of a segment, its sequence numbers varied."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from . import packets as p
from .bpf import REDIRECT, UNSPEC
from .conftest import Redirect, know_peers
from .netns import Namespace
from .rawclient import Flow, Wire

DIRECTOR, HERE, PEER = "10.77.0.1", "10.77.0.11", "10.77.0.12"
VIPS = {4: "203.0.113.10", 6: "2001:db8::10"}
CLIENTS = {4: "198.51.100.7", 6: "2001:db8:1::7"}
ROUTERS = {4: "192.0.2.1", 6: "2001:db8:2::1"}
SERVER_MAC, CLIENT_MAC = "02:00:00:00:00:11", "02:00:00:00:00:07"
ports = count(41000)


@dataclass(frozen=True)
class Host:
    """A backend that listens on both VIPs, and the wire to it."""

    namespace: Namespace
    redirect: Redirect
    wire: Wire
    listeners: dict[int, socket.socket]

    def unless_numbers_are_unknown(self, reason: str) -> str:
        """sock_diag tells no sequence numbers: whatever is half-open or in TIME_WAIT is taken as known."""
        return reason if self.redirect.way == "nfqueue" else "forwarded"

    def flow(self, family: int, dport: int = 0) -> Flow:
        dport = dport or self.listeners[family].getsockname()[1]
        mac = bytes.fromhex(SERVER_MAC.replace(":", ""))
        return Flow(self.wire, mac, CLIENTS[family], VIPS[family], next(ports), dport)

    def established(self, family: int) -> tuple[Flow, socket.socket]:
        flow = self.flow(family)
        flow.open()
        connection, peer = self.listeners[family].accept()
        assert peer[1] == flow.sport
        return flow, connection

    def judge(self, inner: bytes) -> str:
        """Feeds the client's packet with a hop left. The reason; verdict and bytes must go with it."""
        ran, reason = self.redirect.feed(p.gue(inner, src=DIRECTOR, dst=HERE, hops=[PEER], sum_udp=True))
        onward = p.gue(inner, src=HERE, dst=PEER, hops=[PEER], next_hop=1, sum_udp=True)
        expected = (REDIRECT, onward) if reason.startswith("forwarded") else (UNSPEC, inner)
        assert (ran.verdict, ran.frame) == (expected[0], p.ethernet(expected[1]))
        return reason


@pytest.fixture(scope="module", params=["tc", "xdp", "nfqueue"])
def host(bpffs: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    server, client = Namespace("s"), Namespace("r")
    server.ip("link", "add", "eth0", "address", SERVER_MAC, "type", "veth",
              "peer", "name", "eth0", "address", CLIENT_MAC, "netns", client.name)  # fmt: skip
    client.ip("link", "set", "eth0", "up")
    server.ip("link", "set", "eth0", "up")
    for family, vip in VIPS.items():
        server.ip("addr", "add", vip, "dev", "lo", *(["nodad"] if family == 6 else []))
        server.ip(f"-{family}", "route", "add", "default", "dev", "eth0")
        for neighbour in (CLIENTS[family], ROUTERS[family]):
            server.ip("neigh", "add", neighbour, "lladdr", CLIENT_MAC, "dev", "eth0")
    listeners = {}
    with server.entered():
        for family, kind in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            listeners[family] = socket.socket(kind)
            listeners[family].bind((VIPS[family], 0))
            listeners[family].listen(64)
    know_peers(server, "eth0", PEER)
    redirect = Redirect(server, "eth0", bpffs / "glb", request.param)
    redirect.attach("--allow", DIRECTOR, "--peer", PEER)
    wire = Wire(client, "eth0")
    yield Host(server, redirect, wire, listeners)
    for listener in listeners.values():
        listener.close()
    wire.close()
    redirect.detach()
    server.delete()
    client.delete()


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_listener_alone_is_no_claim(host: Host, family: int) -> None:
    flow = host.flow(family)
    for flags in (p.ACK, p.ACK | p.FIN, p.RST, p.RST | p.ACK, p.SYN | p.ACK):
        assert host.judge(flow.packet(flags, seq=5, ack=9)) == "forwarded"


def test_established(host: Host, family: int) -> None:
    flow, connection = host.established(family)
    for flags in (p.ACK, p.ACK | p.FIN, p.RST, p.RST | p.ACK, p.SYN | p.ACK):
        assert host.judge(flow.packet(flags)) == "local_established"
    # Whatever its numbers: a full socket answers for its tuple.
    assert host.judge(flow.packet(p.ACK, seq=1, ack=1)) == "local_established"
    flow.sport += 1000
    assert host.judge(flow.packet(p.ACK)) == "forwarded"
    connection.close()


def test_later_states(host: Host, family: int) -> None:
    flow, connection = host.established(family)
    flow.send(p.FIN | p.ACK)
    flow.wire.expect(lambda s: s.sport == flow.dport and s.dport == flow.sport and s.ack == flow.seq)
    assert host.judge(flow.packet(p.ACK)) == "local_established"  # CLOSE_WAIT
    connection.close()
    flow.expect(p.FIN | p.ACK)
    assert host.judge(flow.packet(p.ACK)) == "local_established"  # LAST_ACK
    flow.send(p.ACK)

    flow, connection = host.established(family)
    connection.shutdown(socket.SHUT_WR)
    flow.expect(p.FIN | p.ACK)
    assert host.judge(flow.packet(p.ACK)) == "local_established"  # FIN_WAIT_1
    flow.send(p.ACK)
    assert host.judge(flow.packet(p.ACK)) == "local_established"  # FIN_WAIT_2
    connection.close()


def test_request_socket_wants_its_own_sequence(host: Host, family: int) -> None:
    flow = host.flow(family)
    flow.half_open()
    assert host.judge(flow.packet(p.ACK)) == "local_request"
    assert host.judge(flow.packet(p.ACK | p.PSH, data=b"GET /")) == "local_request"
    assert host.judge(flow.packet(p.RST | p.ACK)) == "local_request"
    for ack in (flow.ack - 1, flow.ack + 1, flow.ack + 2**31, 0):
        other = host.unless_numbers_are_unknown("local_request")
        assert host.judge(flow.packet(p.ACK, ack=ack)) == other
        assert host.judge(flow.packet(p.RST | p.ACK, ack=ack)) == other
    # The number alone is none without the flag.
    assert host.judge(flow.packet(p.RST)) == "forwarded"
    assert host.judge(flow.packet(p.SYN)) == "local_syn"
    flow.send(p.RST)


def time_wait(host: Host, family: int) -> Flow:
    """A connection that the server closed first; the client's next byte would be flow.seq."""
    flow, connection = host.established(family)
    flow.send(p.PSH | p.ACK, bytes(100))
    assert len(connection.recv(200)) == 100
    connection.close()
    flow.expect(p.FIN | p.ACK)
    flow.send(p.FIN | p.ACK)
    flow.wire.expect(lambda s: s.sport == flow.dport and s.dport == flow.sport and s.ack == flow.seq)
    listing = host.namespace.run("ss", "-Htn", "state", "time-wait", f"sport = :{flow.dport}")
    assert f":{flow.sport}" in listing
    return flow


def test_time_wait_keeps_its_own_segments(host: Host, family: int) -> None:
    flow = time_wait(host, family)
    own = [
        flow.packet(p.ACK),
        flow.packet(p.FIN | p.ACK, seq=flow.seq - 1),  # our last ACK was lost
        flow.packet(p.FIN | p.PSH | p.ACK, seq=flow.seq - 101, data=bytes(100)),
        flow.packet(p.PSH | p.ACK, seq=flow.seq - 101, data=bytes(100)),
        flow.packet(p.RST | p.ACK),
        flow.packet(p.RST),
    ]
    for segment in own:
        assert host.judge(segment) == "local_timewait"


def test_time_wait_passes_on_a_reused_tuple(host: Host, family: int) -> None:
    flow = time_wait(host, family)
    new = [
        flow.packet(p.ACK, ack=flow.ack + 1),
        flow.packet(p.ACK, ack=flow.ack - 1),
        flow.packet(p.ACK, seq=flow.seq + 50_000, ack=flow.ack + 3_000_000_000),
        flow.packet(p.PSH | p.ACK, ack=flow.ack + 2**31, data=b"x"),
        flow.packet(p.ACK, seq=flow.seq + 50_000_000),  # beyond any window of this connection
        flow.packet(p.ACK, seq=flow.seq - 2**30 - 1),
        flow.packet(p.FIN | p.ACK, seq=flow.seq + 2**31),
        flow.packet(p.RST, seq=flow.seq + 1),
        flow.packet(p.RST, seq=flow.seq - 1),
    ]
    for segment in new:
        assert host.judge(segment) == host.unless_numbers_are_unknown("local_timewait")
    assert host.judge(flow.packet(p.SYN, seq=flow.seq + 5_000_000)) == "local_syn"


def test_syn_cookie(host: Host, family: int) -> None:
    host.namespace.sysctl("net.ipv4.tcp_syncookies", 2)
    try:
        flow = host.flow(family)
        flow.half_open()
        checked = "forwarded" if host.redirect.way == "nfqueue" else "local_syncookie"
        assert host.judge(flow.packet(p.ACK)) == checked
        assert host.judge(flow.packet(p.ACK | p.PSH, data=b"GET /")) == checked
        # The lowest few values of a cookie say the MSS, so a near number may be valid too.
        assert host.judge(flow.packet(p.ACK, ack=flow.ack + 1000)) == "forwarded"
        assert host.judge(flow.packet(p.ACK, seq=flow.seq + 1000)) == "forwarded"
        assert host.judge(flow.packet(p.RST | p.ACK)) == "forwarded"
        other = host.flow(family)
        assert host.judge(other.packet(p.ACK, seq=flow.seq, ack=flow.ack)) == "forwarded"
        flow.send(p.ACK)
        connection, peer = host.listeners[family].accept()
        assert peer[1] == flow.sport
        assert host.judge(flow.packet(p.ACK)) == "local_established"
        connection.close()
    finally:
        host.namespace.sysctl("net.ipv4.tcp_syncookies", 1)


def too_big(flow: Flow, family: int, seq: int, mtu: int = 1400) -> bytes:
    quoted = p.tcp(flow.vip, flow.dport, flow.client, flow.sport, p.ACK, seq=seq, data=bytes(1400))
    return p.too_big(ROUTERS[family], flow.vip, mtu, quoted)


def test_other_errors_follow_the_quoted_connection(host: Host, family: int) -> None:
    """With no more than the first 8 bytes of the segment that they quote."""
    flow, connection = host.established(family)
    for kind, code in ((3, 1), (11, 0)) if family == 4 else ((1, 0), (3, 0)):
        quoted = p.tcp(flow.vip, flow.dport, flow.client, flow.sport, p.ACK, seq=flow.ack)
        short = quoted[: 28 if family == 4 else 48]
        error = p.icmp(ROUTERS[family], flow.vip, kind, code, bytes(4), short)
        assert host.judge(error) == "local_too_big"
    connection.close()


def test_too_big_follows_the_quoted_connection(host: Host, family: int) -> None:
    flow, connection = host.established(family)
    assert host.judge(too_big(flow, family, flow.ack)) == "local_too_big"
    connection.close()
    flow = host.flow(family)
    assert host.judge(too_big(flow, family, flow.ack)) == "forwarded"  # only a listener
    flow.half_open()
    assert host.judge(too_big(flow, family, flow.ack - 1)) == "local_too_big"  # quotes our SYN-ACK
    assert host.judge(too_big(flow, family, flow.ack)) == host.unless_numbers_are_unknown("local_too_big")
    flow.send(p.RST)
    flow = time_wait(host, family)
    assert host.judge(too_big(flow, family, flow.ack)) == "forwarded"


def test_dual_stack_listener_and_its_connections(host: Host) -> None:
    """An IPv6 socket that takes IPv4 too, as nginx's `listen [::]:80 ipv6only=off`."""
    with host.namespace.entered():
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with listener:
        flow = host.flow(4, listener.getsockname()[1])
        flow.half_open()
        assert host.judge(flow.packet(p.ACK)) == "local_request"
        flow.send(p.ACK)
        with listener.accept()[0]:
            assert host.judge(flow.packet(p.ACK)) == "local_established"
