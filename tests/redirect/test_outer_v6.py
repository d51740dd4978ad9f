"""GUE over IPv6 (private type 1), and congestion marks of the outer header: one packet in, one packet out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import packets as p
from .bpf import REDIRECT, SHOT, UNSPEC
from .conftest import Redirect, know_peers
from .netns import Namespace
from .test_packets import CLIENTS, DELIVERED, VIPS, segment

V6 = {
    "director": "2001:db8:77::1",
    "here": "2001:db8:77::11",
    "peer": "2001:db8:77::12",
    "other": "2001:db8:77::13",
}
V4 = {"director": "10.77.0.1", "here": "10.77.0.11", "peer": "10.77.0.12", "other": "10.77.0.13"}
NOT_ECT, ECT1, ECT0, CE = range(4)
families = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(scope="module", params=["tc", "xdp", "nfqueue"])
def redirect(bpffs: Path, request: pytest.FixtureRequest) -> Iterator[Redirect]:
    namespace = Namespace("p6")
    namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    peers = [ends[name] for ends in (V6, V4) for name in ("peer", "other")]
    know_peers(namespace, "eth0", *peers)
    redirect = Redirect(namespace, "eth0", bpffs / "glb", request.param)
    redirect.attach("--allow", V6["director"], V4["director"], "--peer", *peers)
    yield redirect
    redirect.detach()
    namespace.delete()


def wrap(inner: bytes, **more: object) -> bytes:
    return p.gue(inner, src=V6["director"], dst=V6["here"], **({"hops": [V6["peer"]]} | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DELIVERED)
@pytest.mark.parametrize("sum_udp", [False, True])
def test_delivered(redirect: Redirect, name: str, sum_udp: bool) -> None:
    inner, expected = DELIVERED[name]
    ran, reason = redirect.feed(wrap(inner, sum_udp=sum_udp))
    assert (reason, ran.verdict) == (expected, UNSPEC)
    assert ran.frame == p.ethernet(inner)


@pytest.mark.parametrize("outer", [4, 6])
@families
def test_every_length_of_chain(redirect: Redirect, outer: int, family: int) -> None:
    """One to eight hops, this host being each of them: taken off, or sent on while one is left."""
    ends = V4 if outer == 4 else V6
    syn, unknown = segment(family, p.SYN), segment(family)
    for count in range(8):
        hops = [ends["peer"], ends["other"]] * 4
        for index in range(count + 1):
            chain: dict[str, Any] = {"dst": ends["here"], "hops": hops[:count], "next_hop": index}
            ran, reason = redirect.feed(p.gue(syn, src=ends["director"], **chain))
            assert (reason, ran.frame) == ("local_syn", p.ethernet(syn))
            ran, reason = redirect.feed(p.gue(unknown, src=ends["peer"], **chain))
            if index == count:
                assert (reason, ran.frame) == ("local_last_hop", p.ethernet(unknown))
                continue
            chain |= {"dst": hops[index], "next_hop": index + 1}
            onward = p.gue(unknown, src=ends["here"], **chain)
            assert (reason, ran.verdict, ran.frame) == ("forwarded", REDIRECT, p.ethernet(onward))


@families
@pytest.mark.parametrize("sum_udp", [False, True])
def test_unknown_segment_goes_to_next_hop(redirect: Redirect, family: int, sum_udp: bool) -> None:
    inner, hops = segment(family, p.ACK, b"odd"), [V6["here"], V6["peer"], V6["other"]]
    ran, reason = redirect.feed(wrap(inner, hops=hops, sum_udp=sum_udp))
    assert (reason, ran.verdict) == ("forwarded", REDIRECT)
    # Bit for bit what a sender would have built for that hop, checksums included.
    expected = p.gue(inner, src=V6["here"], dst=V6["peer"], hops=hops, next_hop=2, sum_udp=sum_udp)
    assert ran.frame == p.ethernet(expected)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (p.gue(segment(4), src="2001:db8:99::1", dst=V6["here"]), "not_allowed"),
        (wrap(segment(4), hops=["2001:db8:99::1"]), "forward_not_peer"),
        (wrap(segment(4), header=p.gue_header(4, [V4["peer"]])), "bad_flags"),  # private type 0 over IPv6
        (wrap(segment(4), header=bytes.fromhex("0204000000010001") + p.addr(V6["peer"])), "bad_hlen"),
        (wrap(segment(4), header=bytes.fromhex("0504000000010001") + p.addr(V6["peer"])[:8]), "bad_inner"),
        (wrap(b"", header=bytes.fromhex("0504000000010001") + bytes(8)), "truncated"),
        (wrap(segment(4), header=p.gue_header(4, [V6["peer"]] * 8, v6=True)), "bad_control"),  # overflows
    ],
)  # fmt: skip
def test_dropped(redirect: Redirect, packet: bytes, expected: str) -> None:
    ran, reason = redirect.feed(packet)
    assert (reason, ran.verdict) == (expected, SHOT)


def test_no_hop_left(redirect: Redirect) -> None:
    ran, reason = redirect.feed(wrap(segment(6), hops=[V6["here"]]))
    assert (reason, ran.verdict, ran.frame) == ("local_last_hop", UNSPEC, p.ethernet(segment(6)))


# --- RFC 6040


MERGED = {  # inner: by outer Not-ECT, ECT(1), ECT(0), CE; RFC 6040, figure 4
    NOT_ECT: [NOT_ECT, NOT_ECT, NOT_ECT, None],
    ECT0: [ECT0, ECT1, ECT0, CE],
    ECT1: [ECT1, ECT1, ECT1, CE],
    CE: [CE, CE, CE, CE],
}


@pytest.mark.parametrize("outer", [4, 6])
@families
@pytest.mark.parametrize("seen", range(4))
@pytest.mark.parametrize("own", range(4))
def test_congestion_marks_reach_the_client_packet(
    redirect: Redirect, outer: int, family: int, seen: int, own: int
) -> None:
    ends = V4 if outer == 4 else V6
    inner = p.tcp(CLIENTS[family], 40000, VIPS[family], 80, p.SYN)
    packet = p.with_tos(
        p.gue(p.with_tos(inner, own), src=ends["director"], dst=ends["here"], hops=[ends["peer"]]), seen
    )
    ran, reason = redirect.feed(packet)
    wanted = MERGED[own][seen]
    if wanted is None:
        assert (reason, ran.verdict) == ("ecn_drop", SHOT)
    else:
        assert (reason, ran.verdict) == ("local_syn", UNSPEC)
        assert ran.frame == p.ethernet(p.with_tos(inner, wanted))
