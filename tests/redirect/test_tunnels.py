"""GRE and IP in IP from directors end here: one packet in, the client's packet out."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .bpf import SHOT, UNSPEC
from .conftest import Redirect
from .netns import Namespace
from .test_outer_v6 import CE, ECT0, NOT_ECT, V4, V6
from .test_packets import CLIENTS, DELIVERED, INNERS, VIPS, families, segment

ENDS = {4: V4, 6: V6}
VARIED = {4: "172.16.0.0/16", 6: "100::/64"}  # outer sources by flow
KEY = 0xDEAD0007
outers = pytest.mark.parametrize("outer", [4, 6])


@pytest.fixture(scope="module", params=["tc", "nfqueue"])
def redirect(bpffs: Path, request: pytest.FixtureRequest) -> Iterator[Redirect]:
    namespace = Namespace("t")
    namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    redirect = Redirect(namespace, "eth0", bpffs / "glb", request.param)
    yield redirect
    redirect.detach()
    namespace.delete()


def attach(redirect: Redirect, *more: str) -> None:
    """With what every test wants; options hold until other ones are wanted."""
    allowed = [*VARIED.values(), V4["director"], V6["director"]]
    redirect.want("--allow", *allowed, "--peer", V4["peer"], V6["peer"], *more)


def ends(outer: int, **more: str) -> dict[str, str]:
    return {"src": ENDS[outer]["director"], "dst": ENDS[outer]["here"]} | more


def both(inner: bytes, outer: int, **more: str) -> list[bytes]:
    """The client's packet in GRE and in IP."""
    return [p.gre(inner, **ends(outer, **more)), p.ip_in_ip(inner, **ends(outer, **more))]


@outers
@pytest.mark.parametrize("name", DELIVERED)
def test_gre_is_taken_off(redirect: Redirect, outer: int, name: str) -> None:
    inner, _ = DELIVERED[name]
    attach(redirect, "--decap", "gre")
    ran, reason = redirect.feed(p.gre(inner, **ends(outer)))
    assert (reason, ran.verdict) == ("local_tunnel", UNSPEC)
    assert ran.frame == p.ethernet(inner)


@outers
@families
def test_gre_with_a_key(redirect: Redirect, outer: int, family: int) -> None:
    inner = segment(family)
    attach(redirect, "--decap", "gre", "--gre-key", str(KEY))
    ran, reason = redirect.feed(p.gre(inner, key=KEY, **ends(outer)))
    assert (reason, ran.verdict, ran.frame) == ("local_tunnel", UNSPEC, p.ethernet(inner))
    for wrong in (p.gre(inner, key=KEY + 1, **ends(outer)), p.gre(inner, **ends(outer))):
        ran, reason = redirect.feed(wrong)
        assert (reason, ran.verdict) == ("bad_gre", SHOT)


@outers
@pytest.mark.parametrize("name", DELIVERED)
def test_ip_in_ip_is_taken_off(redirect: Redirect, outer: int, name: str) -> None:
    """ipip, 6in4, 4in6 and ip6ip6."""
    inner, _ = DELIVERED[name]
    attach(redirect, "--decap", "ipip")
    ran, reason = redirect.feed(p.ip_in_ip(inner, **ends(outer)))
    assert (reason, ran.verdict) == ("local_tunnel", UNSPEC)
    assert ran.frame == p.ethernet(inner)


@outers
@families
@pytest.mark.parametrize("flags", [p.ACK, p.RST, p.PSH | p.ACK])
def test_unknown_segments_are_delivered_too(redirect: Redirect, outer: int, family: int, flags: int) -> None:
    """There is no second chance."""
    inner = segment(family, flags)
    attach(redirect, "--decap", "gre,ipip")
    for packet in both(inner, outer):
        ran, reason = redirect.feed(packet)
        assert (reason, ran.verdict, ran.frame) == ("local_tunnel", UNSPEC, p.ethernet(inner))


@outers
@pytest.mark.parametrize("host", [0x0001, 0x6D8E, 0xFFFF])
def test_sources_that_vary_by_flow(redirect: Redirect, outer: int, host: int) -> None:
    attach(redirect, "--decap", "gre,ipip")
    src = f"172.16.{host >> 8}.{host & 255}" if outer == 4 else f"100::a06d:fe4b:3e08:{host:x}"
    for packet in both(segment(4), outer, src=src):
        assert redirect.feed(packet)[1] == "local_tunnel"


@outers
def test_only_allowed_sources_are_listened_to(redirect: Redirect, outer: int) -> None:
    attach(redirect, "--decap", "gre,ipip")
    stranger = "10.99.0.1" if outer == 4 else "2001:db8:99::1"
    for packet in both(segment(6), outer, src=stranger):
        ran, reason = redirect.feed(packet)
        assert (reason, ran.verdict) == ("not_allowed", SHOT)
    if redirect.way == "nfqueue":
        return  # its list is that of its command line
    redirect.must("allow", "remove", ENDS[outer]["director"])
    assert redirect.feed(p.gre(segment(4), **ends(outer)))[1] == "not_allowed"


@outers
@pytest.mark.parametrize("decap", ["", "gre", "ipip"])
def test_tunnels_not_asked_for_are_left_alone(redirect: Redirect, outer: int, decap: str) -> None:
    attach(redirect, *(["--decap", decap] if decap else []))
    packets = {"gre": p.gre(segment(4), **ends(outer)), "ipip": p.ip_in_ip(segment(6), **ends(outer))}
    for kind, packet in packets.items():
        ran, reason = redirect.feed(packet)
        assert reason == ("local_tunnel" if kind == decap else "not_gue")
        assert ran.verdict == UNSPEC
        if kind != decap:
            assert ran.frame == p.ethernet(packet)


@outers
@families
def test_gue_goes_on_beside_tunnels(redirect: Redirect, outer: int, family: int) -> None:
    attach(redirect, "--decap", "gre,ipip", "--gre-key", "0")
    hops = [ENDS[outer]["peer"]]
    assert redirect.feed(p.gue(segment(family, p.SYN), hops=hops, **ends(outer)))[1] == "local_syn"
    assert redirect.feed(p.gue(segment(family), hops=hops, **ends(outer)))[1] == "forwarded"
    assert redirect.feed(p.gre(segment(family), key=0, **ends(outer)))[1] == "local_tunnel"


# --- malformed

GRE_HEADERS = {
    "checksum": struct.pack("!HHI", 0x8000, 0x0800, 0),
    "routing": struct.pack("!HHI", 0x4000, 0x0800, 0),
    "key": struct.pack("!HHI", 0x2000, 0x0800, 0),
    "sequence": struct.pack("!HHI", 0x1000, 0x0800, 0),
    "strict source route": struct.pack("!HH", 0x0800, 0x0800),
    "recursion": struct.pack("!HH", 0x0100, 0x0800),
    "reserved flag": struct.pack("!HH", 0x0008, 0x0800),
    "version 1": struct.pack("!HH", 0x0001, 0x0800),
    "pptp": struct.pack("!HHI", 0x2001, 0x880B, 0),
    "ethernet": struct.pack("!HH", 0, 0x6558),
    "arp": struct.pack("!HH", 0, 0x0806),
    "one byte": b"\0",
    "nothing": b"",
}


@outers
@pytest.mark.parametrize("name", GRE_HEADERS)
def test_malformed_gre(redirect: Redirect, outer: int, name: str) -> None:
    attach(redirect, "--decap", "gre")
    header = GRE_HEADERS[name]
    packet = p.gre(b"" if len(header) < 4 else segment(4), header=header, **ends(outer))
    ran, reason = redirect.feed(packet)
    assert (reason, ran.verdict) == ("bad_gre", SHOT)


@outers
@pytest.mark.parametrize("size", range(4, 8))
def test_gre_key_cut_short(redirect: Redirect, outer: int, size: int) -> None:
    attach(redirect, "--decap", "gre", "--gre-key", "0")
    header = struct.pack("!HHI", 0x2000, 0x0800, 0)[:size]
    assert redirect.feed(p.gre(b"", header=header, **ends(outer)))[1] == "bad_gre"


WHOLE_IP = [name for name in INNERS if "tcp" not in name and "icmp" not in name and "quote" not in name]


@outers
@pytest.mark.parametrize("name", WHOLE_IP)
def test_malformed_client_packet(redirect: Redirect, outer: int, name: str) -> None:
    attach(redirect, "--decap", "gre,ipip")
    v6 = "v6" in name
    header = struct.pack("!HH", 0, 0x86DD if v6 else 0x0800)
    src, dst = ENDS[outer]["director"], ENDS[outer]["here"]
    in_gre = p.gre(INNERS[name], src=src, dst=dst, header=header)
    for packet in (in_gre, p.ip(src, dst, 41 if v6 else 4, INNERS[name])):
        ran, reason = redirect.feed(packet)
        assert (reason, ran.verdict) == ("bad_inner", SHOT)


@families
def test_type_that_the_packet_is_not(redirect: Redirect, family: int) -> None:
    attach(redirect, "--decap", "gre,ipip")
    header = struct.pack("!HH", 0, 0x0800 if family == 6 else 0x86DD)
    assert redirect.feed(p.gre(segment(family), header=header, **ends(4)))[1] == "bad_inner"
    wrong = p.ipv4(V4["director"], V4["here"], 4 if family == 6 else 41, segment(family))
    assert redirect.feed(wrong)[1] == "bad_inner"


@pytest.mark.parametrize("protocol", [4, 47])
def test_outer_fragment_is_dropped(redirect: Redirect, protocol: int) -> None:
    attach(redirect, "--decap", "gre,ipip")
    body = segment(4) if protocol == 4 else struct.pack("!HH", 0, 0x0800) + segment(4)
    first = p.ipv4(V4["director"], V4["here"], protocol, body, fragment=0x2000)
    assert redirect.feed(first)[1] == "outer_fragment"
    later = p.ipv4(V4["director"], V4["here"], protocol, body, fragment=0x0008)
    ran, reason = redirect.feed(later)
    assert (reason, ran.verdict, ran.frame) == ("not_gue", UNSPEC, p.ethernet(later))


@outers
def test_outer_length_beyond_the_frame(redirect: Redirect, outer: int) -> None:
    attach(redirect, "--decap", "gre,ipip")
    for packet in both(segment(4), outer):
        ran, reason = redirect.feed(p.put(packet, 2 if outer == 4 else 4, struct.pack("!H", len(packet) + 1)))
        assert (reason, ran.verdict) == ("truncated", SHOT)


@outers
def test_ethernet_padding_is_no_part_of_the_packet(redirect: Redirect, outer: int) -> None:
    attach(redirect, "--decap", "gre,ipip")
    cut = p.put(segment(4, p.SYN), 2, b"\0\x29")  # claims one byte more than there is
    assert redirect.feed(p.gre(cut, **ends(outer)) + bytes(40))[1] == "bad_inner"
    assert redirect.feed(p.gre(segment(4), **ends(outer)) + bytes(40))[1] == "local_tunnel"


def test_outer_options_are_taken_off(redirect: Redirect) -> None:
    attach(redirect, "--decap", "ipip")
    packet = p.ipv4(V4["director"], V4["here"], 41, segment(6), options=b"\x01" * 12)
    ran, reason = redirect.feed(packet)
    assert (reason, ran.frame) == ("local_tunnel", p.ethernet(segment(6)))


@outers
@families
def test_congestion_marks_reach_the_client_packet(redirect: Redirect, outer: int, family: int) -> None:
    attach(redirect, "--decap", "gre,ipip")
    for own, wanted in ((ECT0, CE), (CE, CE), (NOT_ECT, None)):
        inner = p.with_tos(p.tcp(CLIENTS[family], 40000, VIPS[family], 80, p.ACK), own)
        for packet in both(inner, outer):
            ran, reason = redirect.feed(p.with_tos(packet, CE))
            if wanted is None:
                assert (reason, ran.verdict) == ("ecn_drop", SHOT)
            else:
                assert (reason, ran.frame) == ("local_tunnel", p.ethernet(p.with_tos(inner, wanted)))
