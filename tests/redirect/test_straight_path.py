"""The usual packet goes straight through in eBPF, everything else by decide.h, as all does by NFQUEUE.

Bits of every byte of the usual packet's headers are changed: what becomes of it is the same by all ways.
"""

import contextlib
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .conftest import Redirect, know_peers
from .netns import Namespace

DIRECTOR, HERE, PEER, STRANGER = "10.66.0.1", "10.66.0.11", "10.66.0.12", "10.66.0.99"
VIP, CLIENT, PORT, CLIENT_PORT = "203.0.113.10", "198.51.100.7", 8080, 40000
VIP_V6, CLIENT_V6 = "2001:db8::10", "2001:db8:1::7"
BITS, STEP = 8, 4
HEADERS = 20 + 8 + 8 + 4 + 20 + 20  # bytes: outer, hops, client's
WAYS = ("tc", "xdp", "nfqueue")


@pytest.fixture(scope="module")
def redirects(bpffs: Path) -> Iterator[list[Redirect]]:
    """One for each way in, with the same connections."""
    with contextlib.ExitStack() as stack:
        made = []
        for way in WAYS:
            namespace = Namespace(f"s-{way}")
            stack.callback(namespace.delete)
            namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
            namespace.ip("link", "set", "eth0", "up")
            for address in (VIP, CLIENT):
                namespace.ip("addr", "add", address, "dev", "lo")
            for address in (VIP_V6, CLIENT_V6):
                namespace.ip("addr", "add", address, "dev", "lo", "nodad")
            know_peers(namespace, "eth0", PEER)
            with namespace.entered():
                for vip, client in ((VIP, CLIENT), (VIP_V6, CLIENT_V6)):
                    family = socket.AF_INET6 if ":" in vip else socket.AF_INET
                    listener = stack.enter_context(socket.create_server((vip, PORT), family=family))
                    source = (client, CLIENT_PORT)
                    stack.enter_context(socket.create_connection((vip, PORT), source_address=source))
                    stack.enter_context(listener.accept()[0])
            redirect = Redirect(namespace, "eth0", bpffs / "glb", way)
            rates = ["--last-hop-rate", "0", "--forward-rate", "0"]
            redirect.attach("--allow", DIRECTOR, "--peer", PEER, *rates)
            stack.callback(redirect.detach)
            made.append(redirect)
        yield made


def agree(redirects: list[Redirect], packet: bytes) -> str:
    """Feeds a packet to all; the reason that they agree on."""
    tc, *others = redirects
    want, reason = tc.feed(packet)
    for other in others:
        ran, by_other = other.feed(packet)
        assert (by_other, ran.verdict) == (reason, want.verdict), f"{other.way}, not tc: {packet.hex()}"
        if reason.startswith(("local", "forwarded")):
            assert want.frame.startswith(ran.frame), f"{other.way}, not tc: {packet.hex()}"
            assert len(ran.frame) > len(p.NO_MAC) * 2
    return reason


@pytest.mark.parametrize(
    ("vip", "client", "port", "expected"),
    [
        (VIP, CLIENT, CLIENT_PORT, "local_established"),
        (VIP, CLIENT, CLIENT_PORT + 1, "forwarded"),
        (VIP_V6, CLIENT_V6, CLIENT_PORT, "local_established"),
        (VIP_V6, CLIENT_V6, CLIENT_PORT + 1, "forwarded"),
    ],
)
def test_every_byte(redirects: list[Redirect], vip: str, client: str, port: int, expected: str) -> None:
    inner = p.tcp(client, port, vip, PORT, p.ACK, data=b"0123456789")
    usual = p.gue(inner, src=DIRECTOR, dst=HERE, hops=[PEER])
    assert agree(redirects, usual) == expected
    seen = Counter[str]()
    headers = HEADERS + (20 if ":" in vip else 0)
    for at in range(headers):
        for bit in range(at % STEP, BITS, STEP):
            changed = bytearray(usual)
            changed[at] ^= 1 << bit
            if changed[0] >> 4 in (4, 6):  # else the kernel's test run takes it for neither
                seen[agree(redirects, bytes(changed))] += 1
    dropped = {"not_allowed", "bad_inner", "truncated", "bad_hlen", "bad_index"}
    assert {expected, "forwarded", "not_gue", *dropped} <= {*seen}


@pytest.mark.parametrize("hops", [[], [PEER], [HERE, PEER], [STRANGER, PEER], [PEER] * 7])
@pytest.mark.parametrize("flags", [p.SYN, p.ACK, p.SYN | p.ACK, p.RST])
def test_chains_and_flags(redirects: list[Redirect], hops: list[str], flags: int) -> None:
    for port in (CLIENT_PORT, CLIENT_PORT + 1):
        for next_hop in range(len(hops) + 1):
            inner = p.tcp(CLIENT, port, VIP, PORT, flags)
            packet = p.gue(inner, src=DIRECTOR, dst=HERE, hops=hops, next_hop=next_hop)
            reason = agree(redirects, packet)
            if flags == p.SYN:
                assert reason == "local_syn"
            elif port == CLIENT_PORT:
                assert reason == "local_established"
            else:
                onward = [hop for hop in hops[next_hop:] if hop != HERE]
                last = {PEER: "forwarded", STRANGER: "forward_not_peer"}
                assert reason == (last[onward[0]] if onward else "local_last_hop")
