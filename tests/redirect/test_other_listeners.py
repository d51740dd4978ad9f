"""Listeners of other kinds, each as the kernel has it: any address, SO_REUSEPORT, TCP Fast Open, MPTCP."""

import secrets
import socket
import struct

from . import packets as p
from .test_sockets import VIPS, Host
from .test_sockets import family as family
from .test_sockets import host as host

ANY = {4: "0.0.0.0", 6: "::"}
KIND = {4: socket.AF_INET, 6: socket.AF_INET6}
NO_COOKIE = 0x200  # net.ipv4.tcp_fastopen: data of a SYN is taken without a cookie
ENABLED = 0x2
MPTCP_OPTION, MP_CAPABLE, MP_JOIN, MP_VERSION, MP_SHA256 = 30, 0, 1, 1, 1


def listener(host: Host, family: int, address: str, *, port: int = 0, protocol: int = 0) -> socket.socket:
    """Open a listener in the host's namespace, one of a group."""
    with host.namespace.entered():
        made = socket.socket(KIND[family], socket.SOCK_STREAM, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == 6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((address, port))
    made.listen(64)
    made.settimeout(3)
    return made


def test_any_address(host: Host, family: int) -> None:
    with listener(host, family, ANY[family]) as any_address:
        flow = host.flow(family, any_address.getsockname()[1])
        assert host.judge(flow.packet(p.ACK)) == "forwarded"
        flow.half_open()
        assert host.judge(flow.packet(p.ACK)) == "local_request"
        flow.send(p.ACK)
        with any_address.accept()[0]:
            assert host.judge(flow.packet(p.ACK)) == "local_established"
            flow.sport += 1000
            assert host.judge(flow.packet(p.ACK)) == "forwarded"


def test_a_group_on_one_port(host: Host, family: int) -> None:
    """Whichever of them the kernel chose: its connections are known, also when it listens no more."""
    first = listener(host, family, VIPS[family])
    port = first.getsockname()[1]
    members = [first, *(listener(host, family, VIPS[family], port=port) for _ in range(3))]
    flows = [host.flow(family, port) for _ in range(16)]
    for flow in flows:
        flow.half_open()
        assert host.judge(flow.packet(p.ACK)) == "local_request"
        flow.send(p.ACK)
    for flow in flows:
        assert host.judge(flow.packet(p.ACK)) == "local_established"
    accepted: list[list[socket.socket]] = []
    for member in members:
        member.setblocking(False)
        accepted.append([])
        while True:
            try:
                accepted[-1].append(member.accept()[0])
            except BlockingIOError:
                break
    assert sum(map(len, accepted)) == len(flows)
    assert sum(map(bool, accepted)) > 1  # the kernel spread them
    for member in members[1:]:
        member.close()
    for flow in flows:
        assert host.judge(flow.packet(p.ACK)) == "local_established"
        flow.sport += 1000
        assert host.judge(flow.packet(p.ACK)) == "forwarded"
    first.close()
    for connection in (each for some in accepted for each in some):
        connection.close()


def test_fast_open(host: Host, family: int) -> None:
    """A SYN with data makes a connection at once: its tuple is known before the handshake is through."""
    before = int(host.namespace.run("sysctl", "-n", "net.ipv4.tcp_fastopen"))
    host.namespace.sysctl("net.ipv4.tcp_fastopen", ENABLED | NO_COOKIE)
    try:
        with listener(host, family, VIPS[family]) as fast:
            fast.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
            flow = host.flow(family, fast.getsockname()[1])
            assert host.judge(flow.packet(p.SYN, data=b"hello")) == "local_syn"
            flow.send(p.SYN, b"hello")
            flow.expect(p.SYN | p.ACK)
            connection, _ = fast.accept()
            assert connection.recv(5) == b"hello"  # the handshake is not through
            known = "local_request" if host.redirect.way == "nfqueue" else "local_established"
            assert host.judge(flow.packet(p.ACK)) == known
            assert host.judge(flow.packet(p.ACK, data=b"more")) == known
            flow.send(p.ACK, b"more")
            assert connection.recv(4) == b"more"
            assert host.judge(flow.packet(p.ACK)) == "local_established"
            connection.close()
    finally:
        host.namespace.sysctl("net.ipv4.tcp_fastopen", before)


def mptcp(subtype: int, low: int, flags: int, *rest: bytes) -> bytes:
    """An MPTCP option, RFC 8684."""
    body = b"".join(rest)
    return struct.pack("!BBBB", MPTCP_OPTION, 4 + len(body), subtype << 4 | low, flags) + body


def test_mptcp(host: Host, family: int) -> None:
    """Its first subflow is a connection like others, options and all; one that joins is one of its own."""
    capable = mptcp(MP_CAPABLE, MP_VERSION, MP_SHA256)
    with listener(host, family, VIPS[family], protocol=socket.IPPROTO_MPTCP) as many:
        port = many.getsockname()[1]
        flow = host.flow(family, port)
        syn = flow.packet(p.SYN, options=capable)
        assert host.judge(syn) == "local_syn"
        host.wire.send(p.ethernet(syn, dst=flow.mac))
        flow.seq += 1
        answer = flow.expect(p.SYN | p.ACK)
        at = answer.options.index(bytes((MPTCP_OPTION, 12)))  # the server speaks it: here is its key
        keys = secrets.token_bytes(8), answer.options[at + 4 : at + 12]
        ack = flow.packet(p.ACK, options=mptcp(MP_CAPABLE, MP_VERSION, MP_SHA256, *keys))
        assert host.judge(ack) == "local_request"
        # By its number, as of any request.
        wrong = host.unless_numbers_are_unknown("local_request")
        assert host.judge(flow.packet(p.ACK, ack=flow.ack + 1)) == wrong
        host.wire.send(p.ethernet(ack, dst=flow.mac))
        with many.accept()[0]:
            assert host.judge(flow.packet(p.ACK)) == "local_established"
            # A subflow that joins: its SYN is delivered as any, its segments are known where it came to be.
            joining = host.flow(family, port)
            join = mptcp(MP_JOIN, 0, 1, secrets.token_bytes(4), secrets.token_bytes(4))
            assert host.judge(joining.packet(p.SYN, options=join)) == "local_syn"
            host.wire.send(p.ethernet(joining.packet(p.SYN, options=join), dst=joining.mac))
            refused = host.wire.expect(lambda s: s.dport == joining.sport)
            assert refused.flags & p.RST  # nobody here has that token
            third = mptcp(MP_JOIN, 0, 0, secrets.token_bytes(20))
            assert host.judge(joining.packet(p.ACK, options=third)) == "forwarded"
            assert host.judge(flow.packet(p.ACK)) == "local_established"  # the first goes on


def test_a_plain_client_of_an_mptcp_listener(host: Host, family: int) -> None:
    """Most clients are; the listener's half-open sockets are MPTCP's all the same."""
    with listener(host, family, VIPS[family], protocol=socket.IPPROTO_MPTCP) as many:
        flow = host.flow(family, many.getsockname()[1])
        flow.half_open()
        assert host.judge(flow.packet(p.ACK)) == "local_request"
        wrong = host.unless_numbers_are_unknown("local_request")
        assert host.judge(flow.packet(p.ACK, ack=flow.ack + 1)) == wrong
        flow.send(p.ACK)
        connection = many.accept()[0]
        assert host.judge(flow.packet(p.ACK)) == "local_established"
        connection.close()
        flow.expect(p.FIN | p.ACK)
        flow.send(p.ACK)
        flow.send(p.FIN | p.ACK)
        flow.wire.expect(lambda s: s.sport == flow.dport and s.dport == flow.sport and s.ack == flow.seq)
        assert host.judge(flow.packet(p.ACK)) == "local_timewait"
        assert host.judge(flow.packet(p.ACK, ack=flow.ack + 5)) == (
            "local_timewait" if host.redirect.way == "nfqueue" else "forwarded"
        )
