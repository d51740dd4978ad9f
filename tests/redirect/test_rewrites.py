"""L3DSR on the way in, NAT on the way out: one packet in, one packet out, checksums bit for bit."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .bpf import UNSPEC
from .conftest import Redirect
from .netns import Namespace
from .test_outer_v6 import V4, V6
from .test_packets import CLIENTS, ROUTERS, VIPS, families, segment

HERE = {4: V4["here"], 6: V6["here"]}
DIRECTOR = {4: V4["director"], 6: V6["director"]}
PEER = {4: V4["peer"], 6: V6["peer"]}
DSCP = 7
ecns = pytest.mark.parametrize("ecn", range(4))


OPTIONS = [option for family in VIPS for option in ("--l3dsr", f"{DSCP}={VIPS[family]}")] + [
    option
    for service in ("tcp:8080={}:80", "udp:5353={}:53", "tcp:443={}")
    for vip in (VIPS[4], f"[{VIPS[6]}]")
    for option in ("--nat", service.format(vip))
]


@pytest.fixture(scope="module")
def redirect(bpffs: Path) -> Iterator[Redirect]:
    namespace = Namespace("w")
    namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    redirect = Redirect(namespace, "eth0", bpffs / "glb")
    redirect.attach("--allow", *DIRECTOR.values(), "--peer", *PEER.values(), *OPTIONS)
    yield redirect
    redirect.detach()
    namespace.delete()


def damaged(packet: bytes, at: int) -> bytes:
    """One byte of the payload is not what the checksum says."""
    return p.put(packet, at, bytes([packet[at] ^ 0x5A]))


def without_sum(packet: bytes, family: int) -> bytes:
    """A UDP packet whose checksum is 0: there is none."""
    return p.put(packet, (40 if family == 6 else 20) + 6, bytes(2))


def zero_summed(src: str, sport: int, dst: str, dport: int) -> bytes:
    """A UDP packet whose checksum comes to 0, and so is 0xffff."""
    at = 46 if p.is_v6(src) else 26
    (total,) = struct.unpack_from("!H", p.udp(src, sport, dst, dport, b"\0\0"), at)
    packet = p.udp(src, sport, dst, dport, struct.pack("!H", total))
    assert packet[at : at + 2] == b"\xff\xff"
    return packet


# --- L3DSR


def fragment_v6(dst: str, payload: bytes, *, offset: int = 0) -> bytes:
    head = struct.pack("!BBHI", payload_protocol(payload), 0, offset << 3 | 1, 7)
    return p.ipv6(CLIENTS[6], dst, 44, head + payload)


def payload_protocol(payload: bytes) -> int:
    return 17 if payload[:4] == b"\x13\x88\x00\x35" else 6


def l3dsr_pairs(family: int) -> dict[str, tuple[bytes, bytes]]:
    """By name: as the director sends it, but for the DSCP, and as the client did."""
    client, here, vip = CLIENTS[family], HERE[family], VIPS[family]
    both = (here, vip)
    made = {
        "syn": [p.tcp(client, 40000, to, 80, p.SYN) for to in both],
        "data": [p.tcp(client, 40000, to, 80, p.ACK, data=bytes(range(251))) for to in both],
        "udp": [p.udp(client, 5000, to, 53, b"query") for to in both],
        "udp without checksum": [without_sum(p.udp(client, 5000, to, 53), family) for to in both],
        "echo": [p.icmp(client, to, 128 if family == 6 else 8, 0, bytes(4), b"ping") for to in both],
        "too big": [
            p.too_big(ROUTERS[family], to, 1300, p.tcp(vip, 80, client, 40000, p.ACK, data=bytes(900)))
            for to in both
        ],
        "sctp": [p.ip(client, to, 132, bytes(range(32))) for to in both],
    }
    # One that comes to 0 is sent as 0xffff, wherever it began.
    made["udp sum of 0"] = [p.udp(client, 5000, here, 53, zero_summed(client, 5000, vip, 53)[-2:])]
    made["udp sum of 0"].append(zero_summed(client, 5000, vip, 53))
    return {name: (old, new) for name, (old, new) in made.items()}


NAMES = list(l3dsr_pairs(4))


@families
@pytest.mark.parametrize("name", NAMES)
@ecns
def test_l3dsr_destination_becomes_the_vip(redirect: Redirect, family: int, name: str, ecn: int) -> None:
    sent, wanted = l3dsr_pairs(family)[name]
    ran, reason = redirect.feed(p.with_tos(sent, DSCP << 2 | ecn))
    assert (reason, ran.verdict) == ("local_l3dsr", UNSPEC)
    assert ran.frame == p.ethernet(p.with_tos(wanted, ecn))


@families
def test_l3dsr_leaves_damage_as_it_is(redirect: Redirect, family: int) -> None:
    sent, wanted = l3dsr_pairs(family)["data"]
    ran, _ = redirect.feed(p.with_tos(damaged(sent, 100), DSCP << 2))
    assert ran.frame == p.ethernet(damaged(wanted, 100))


def test_l3dsr_options_and_first_fragment_of_ipv4(redirect: Redirect) -> None:
    for more in ({"options": b"\x01" * 8}, {"fragment": 0x2000}):
        pair = [
            p.ipv4(CLIENTS[4], to, 17, p.udp(CLIENTS[4], 5000, to, 53, bytes(64))[20:], **more)  # type: ignore[arg-type]
            for to in (HERE[4], VIPS[4])
        ]
        ran, reason = redirect.feed(p.with_tos(pair[0], DSCP << 2))
        assert (reason, ran.frame) == ("local_l3dsr", p.ethernet(pair[1]))


def test_l3dsr_first_fragment_of_ipv6(redirect: Redirect) -> None:
    sent, wanted = (
        fragment_v6(to, p.udp(CLIENTS[6], 5000, to, 53, bytes(64))[40:]) for to in (HERE[6], VIPS[6])
    )
    ran, reason = redirect.feed(p.with_tos(sent, DSCP << 2))
    assert (reason, ran.frame) == ("local_l3dsr", p.ethernet(wanted))


@families
@pytest.mark.parametrize("dscp", [0, DSCP - 1, DSCP + 1, 63])
def test_other_dscps_are_left_alone(redirect: Redirect, family: int, dscp: int) -> None:
    packet = p.with_tos(p.tcp(CLIENTS[family], 40000, HERE[family], 80, p.SYN), dscp << 2 | 1)
    ran, reason = redirect.feed(packet)
    assert (reason, ran.verdict, ran.frame) == ("not_gue", UNSPEC, p.ethernet(packet))


@families
def test_l3dsr_knows_one_vip_of_each_family(redirect: Redirect, family: int) -> None:
    redirect.attach("--l3dsr", f"9={VIPS[family]}")
    try:
        for other in (4, 6):
            packet = p.with_tos(p.tcp(CLIENTS[other], 40000, HERE[other], 80, p.SYN), 9 << 2)
            assert redirect.feed(packet)[1] == ("local_l3dsr" if other == family else "not_gue")
    finally:
        redirect.attach(*OPTIONS)


def test_l3dsr_later_fragments_are_left_alone(redirect: Redirect) -> None:
    later = p.with_tos(p.ipv4(CLIENTS[4], HERE[4], 17, bytes(64), fragment=0x0008), DSCP << 2)
    ran, reason = redirect.feed(later)
    assert (reason, ran.frame) == ("not_gue", p.ethernet(later))


# --- NAT


SERVICES = [(6, 8080, 80), (17, 5353, 53), (6, 443, 443)]
services = pytest.mark.parametrize(("protocol", "port", "vip_port"), SERVICES, ids=["http", "dns", "https"])


def reply(family: int, protocol: int, src: str, port: int, data: bytes = b"", dst: str = "") -> bytes:
    dst = dst or CLIENTS[family]
    if protocol == 17:
        return p.udp(src, port, dst, 40000, data)
    return p.tcp(src, port, dst, 40000, p.PSH | p.ACK, seq=0x12345678, ack=0x9ABCDEF0, data=data)


@families
@services
@pytest.mark.parametrize("size", [0, 1, 251])
def test_nat_reply_comes_from_the_vip(
    redirect: Redirect, family: int, protocol: int, port: int, vip_port: int, size: int
) -> None:
    data = bytes(range(size))
    ran, reason = redirect.feed_egress(reply(family, protocol, HERE[family], port, data))
    assert (reason, ran.verdict) == ("nat_reply", UNSPEC)
    assert ran.frame == p.ethernet(reply(family, protocol, VIPS[family], vip_port, data))


@families
def test_nat_udp_without_checksum(redirect: Redirect, family: int) -> None:
    sent, wanted = (
        without_sum(reply(family, 17, *source), family)
        for source in ((HERE[family], 5353), (VIPS[family], 53))
    )
    ran, reason = redirect.feed_egress(sent)
    assert (reason, ran.frame) == ("nat_reply", p.ethernet(wanted))


@families
def test_nat_udp_sum_of_0(redirect: Redirect, family: int) -> None:
    wanted = zero_summed(VIPS[family], 53, CLIENTS[family], 40000)
    ran, _ = redirect.feed_egress(reply(family, 17, HERE[family], 5353, wanted[-2:]))
    assert ran.frame == p.ethernet(wanted)
    sent = zero_summed(HERE[family], 5353, CLIENTS[family], 40000)
    ran, _ = redirect.feed_egress(sent)
    assert ran.frame == p.ethernet(reply(family, 17, VIPS[family], 53, sent[-2:]))


@families
def test_nat_leaves_damage_as_it_is(redirect: Redirect, family: int) -> None:
    data = bytes(range(100))
    ran, _ = redirect.feed_egress(damaged(reply(family, 6, HERE[family], 8080, data), 80))
    assert ran.frame == p.ethernet(damaged(reply(family, 6, VIPS[family], 80, data), 80))


def left_alone(family: int) -> dict[str, bytes]:
    here, vip = HERE[family], VIPS[family]
    return {
        "to a director": reply(family, 6, here, 8080, dst=DIRECTOR[family]),
        "to a peer": reply(family, 6, here, 8080, dst=PEER[family]),
        "other port": reply(family, 6, here, 8081),
        "other protocol": reply(family, 17, here, 8080),
        "from the vip already": reply(family, 6, vip, 8080),
        "echo reply": p.icmp(here, CLIENTS[family], 129 if family == 6 else 0, 0, bytes(4), b"pong"),
        "cut in the ports": p.ip(here, CLIENTS[family], 6, b"\x1f"),
        "sctp": p.ip(here, CLIENTS[family], 132, b"\x1f\x90" + bytes(30)),
    }


@families
@pytest.mark.parametrize("name", left_alone(4))
def test_other_traffic_leaves_as_it_is(redirect: Redirect, family: int, name: str) -> None:
    packet = left_alone(family)[name]
    ran, reason = redirect.feed_egress(packet)
    assert (reason, ran.verdict, ran.frame) == ("none", UNSPEC, p.ethernet(packet))


@families
@services
def test_requests_are_left_alone(
    redirect: Redirect, family: int, protocol: int, port: int, vip_port: int
) -> None:
    """The director has rewritten them: nothing is to be done on the way in."""
    packet = p.tcp(CLIENTS[family], 40000, HERE[family], port, p.SYN)
    if protocol == 17:
        packet = p.udp(CLIENTS[family], 40000, HERE[family], port)
    ran, reason = redirect.feed(packet)
    assert (reason, ran.verdict, ran.frame) == ("not_gue", UNSPEC, p.ethernet(packet))


def test_what_was_opened_with_l3dsr_is_answered_by_the_stack(redirect: Redirect) -> None:
    """A reply whose source is a VIP by itself, with a port that NAT knows, stays as it is."""
    packet = p.tcp(VIPS[4], 8080, CLIENTS[4], 40000, p.SYN | p.ACK)
    assert redirect.feed_egress(packet)[0].frame == p.ethernet(packet)
    assert redirect.feed(segment(4))[1] == "not_gue"
