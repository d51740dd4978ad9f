"""One packet in, one packet out: every step of the second chance that needs no connection."""

import os
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import bpf
from . import packets as p
from .bpf import REDIRECT, SHOT, UNSPEC
from .conftest import Redirect, know_peers
from .netns import Namespace

DIRECTOR, HERE, PEER, OTHER, STRANGER = "10.77.0.1", "10.77.0.11", "10.77.0.12", "10.77.0.13", "10.99.0.1"
VIPS = {4: "203.0.113.10", 6: "2001:db8::10"}
CLIENTS = {4: "198.51.100.7", 6: "2001:db8:1::7"}
ROUTERS = {4: "192.0.2.1", 6: "2001:db8:2::1"}
families = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(scope="module", params=["tc", "xdp", "nfqueue"])
def redirect(bpffs: Path, request: pytest.FixtureRequest) -> Iterator[Redirect]:
    namespace = Namespace("p")
    namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    know_peers(namespace, "eth0", PEER, OTHER)
    redirect = Redirect(namespace, "eth0", bpffs / "glb", request.param)
    redirect.attach("--allow", DIRECTOR, "10.78.0.9", "--peer", PEER, OTHER, "10.78.0.0/16")
    yield redirect
    redirect.detach()
    namespace.delete()


def segment(family: int, flags: int = p.ACK, data: bytes = b"") -> bytes:
    return p.tcp(CLIENTS[family], 40000, VIPS[family], 80, flags, data=data)


def wrap(inner: bytes, header: bytes | None = None) -> bytes:
    return p.gue(inner, src=DIRECTOR, dst=HERE, hops=[PEER], header=header)


# --- delivered here


@families
@pytest.mark.parametrize("hops", [0, 1, 7])
@pytest.mark.parametrize("sum_udp", [False, True])
def test_syn_is_delivered_without_outer_headers(
    redirect: Redirect, family: int, hops: int, sum_udp: bool
) -> None:
    inner = segment(family, p.SYN)
    packet = p.gue(inner, src=DIRECTOR, dst=HERE, hops=[PEER] * hops, sum_udp=sum_udp)
    ran, reason = redirect.feed(packet)
    assert reason == "local_syn"
    assert ran.verdict == UNSPEC
    assert ran.frame == p.ethernet(inner)


def fragment_v6(client: str, vip: str) -> bytes:
    return p.ipv6(client, vip, 44, struct.pack("!BBHI", 6, 0, 8 << 3 | 1, 7) + bytes(64))


ANSWERS = {family: p.udp(VIPS[family], 53, CLIENTS[family], 5000) for family in (4, 6)}
EXTENSIONS = b"\x3c\x00" + bytes(6) + b"\x06\x01" + bytes(14)  # hop-by-hop, destination options, then TCP
DELIVERED = {
    "udp4": (p.udp(CLIENTS[4], 5000, VIPS[4], 53, b"q"), "local_udp"),
    "udp6": (p.udp(CLIENTS[6], 5000, VIPS[6], 53, b"q"), "local_udp"),
    "echo4": (p.icmp(CLIENTS[4], VIPS[4], 8, 0, bytes(4), b"ping"), "local_icmp"),
    "echo6": (p.icmp(CLIENTS[6], VIPS[6], 128, 0, bytes(4), b"ping"), "local_icmp"),
    "unreachable4, udp": (p.icmp(ROUTERS[4], VIPS[4], 3, 1, bytes(4), ANSWERS[4][:28]), "local_icmp"),
    "unreachable6, udp": (p.icmp(ROUTERS[6], VIPS[6], 1, 3, bytes(4), ANSWERS[6]), "local_icmp"),
    "time exceeded4, udp": (p.icmp(ROUTERS[4], VIPS[4], 11, 0, bytes(4), ANSWERS[4][:28]), "local_icmp"),
    "time exceeded6, udp": (p.icmp(ROUTERS[6], VIPS[6], 3, 0, bytes(4), ANSWERS[6]), "local_icmp"),
    "too big, udp4": (p.too_big(ROUTERS[4], VIPS[4], 1300, ANSWERS[4]), "local_icmp"),
    "too big, udp6": (p.too_big(ROUTERS[6], VIPS[6], 1300, ANSWERS[6]), "local_icmp"),
    "gre": (p.ipv4(CLIENTS[4], VIPS[4], 47, bytes(8)), "local_other"),
    "icmpv6 in v4": (p.ipv4(CLIENTS[4], VIPS[4], 58, bytes(8)), "local_other"),
    "esp6": (p.ipv6(CLIENTS[6], VIPS[6], 50, bytes(16)), "local_other"),
    "first fragment4": (p.ipv4(CLIENTS[4], VIPS[4], 6, bytes(64), fragment=0x2000), "local_fragment"),
    "later fragment4": (p.ipv4(CLIENTS[4], VIPS[4], 6, bytes(64), fragment=0x0008), "local_fragment"),
    "tiny fragment4": (p.ipv4(CLIENTS[4], VIPS[4], 6, b"x", fragment=0x00B9), "local_fragment"),
    "fragment6": (fragment_v6(CLIENTS[6], VIPS[6]), "local_fragment"),
    "options4": (p.ipv4(CLIENTS[4], VIPS[4], 6, segment(4, p.SYN)[20:], options=b"\x01" * 8), "local_syn"),
    "extensions6": (p.ipv6(CLIENTS[6], VIPS[6], 0, EXTENSIONS + segment(6, p.SYN)[40:]), "local_syn"),
}


@pytest.mark.parametrize("name", DELIVERED)
def test_delivered(redirect: Redirect, name: str) -> None:
    inner, expected = DELIVERED[name]
    ran, reason = redirect.feed(wrap(inner))
    assert (reason, ran.verdict) == (expected, UNSPEC)
    assert ran.frame == p.ethernet(inner)


# --- sent on


@families
@pytest.mark.parametrize("flags", [p.ACK, p.ACK | p.FIN, p.RST, p.SYN | p.ACK, p.PSH | p.ACK])
@pytest.mark.parametrize("sum_udp", [False, True])
def test_unknown_segment_goes_to_next_hop(redirect: Redirect, family: int, flags: int, sum_udp: bool) -> None:
    inner, hops = segment(family, flags, b"odd"), [PEER, OTHER]
    ran, reason = redirect.feed(p.gue(inner, src=DIRECTOR, dst=HERE, hops=hops, sum_udp=sum_udp))
    assert (reason, ran.verdict) == ("forwarded", REDIRECT)
    # Bit for bit what a sender would have built for the second hop, checksums included.
    assert ran.frame == p.ethernet(p.gue(inner, src=HERE, dst=PEER, hops=hops, next_hop=1, sum_udp=sum_udp))


@families
def test_last_of_seven_hops(redirect: Redirect, family: int) -> None:
    inner, hops = segment(family), [PEER, OTHER] * 3 + [OTHER]
    ran, reason = redirect.feed(p.gue(inner, src=PEER, dst=HERE, hops=hops, next_hop=6, sum_udp=True))
    assert (reason, ran.verdict) == ("forwarded", REDIRECT)
    assert ran.frame == p.ethernet(p.gue(inner, src=HERE, dst=OTHER, hops=hops, next_hop=7, sum_udp=True))


def test_own_address_counts_as_tried(redirect: Redirect) -> None:
    inner, hops = segment(4), [HERE, HERE, OTHER]
    ran, reason = redirect.feed(p.gue(inner, src=DIRECTOR, dst=HERE, hops=hops, sum_udp=True))
    assert (reason, ran.verdict) == ("forwarded", REDIRECT)
    assert ran.frame == p.ethernet(p.gue(inner, src=HERE, dst=OTHER, hops=hops, next_hop=3, sum_udp=True))


@families
@pytest.mark.parametrize(("hops", "next_hop"), [([], 0), ([PEER], 1), ([HERE], 0), ([PEER, HERE], 1)])
def test_no_hop_left(redirect: Redirect, family: int, hops: list[str], next_hop: int) -> None:
    inner = segment(family)
    ran, reason = redirect.feed(p.gue(inner, src=PEER, dst=HERE, hops=hops, next_hop=next_hop))
    assert (reason, ran.verdict) == ("local_last_hop", UNSPEC)
    assert ran.frame == p.ethernet(inner)


# A director is no peer, nor is a stranger; the longest prefix decides, so 10.78.0.9 is none either.
@pytest.mark.parametrize("hop", [STRANGER, DIRECTOR, "10.78.0.9", "255.255.255.255"])
def test_only_peers_are_sent_to(redirect: Redirect, hop: str) -> None:
    ran, reason = redirect.feed(p.gue(segment(4), src=DIRECTOR, dst=HERE, hops=[hop, PEER]))
    assert (reason, ran.verdict) == ("forward_not_peer", SHOT)


@families
def test_error_for_unknown_connection_goes_on(redirect: Redirect, family: int) -> None:
    quoted = p.tcp(VIPS[family], 80, CLIENTS[family], 40000, p.ACK, data=bytes(900))
    inner = p.too_big(ROUTERS[family], VIPS[family], 1300, quoted)
    kind, code = (3, 1) if family == 4 else (1, 3)
    unreachable = p.icmp(ROUTERS[family], VIPS[family], kind, code, bytes(4), quoted[:60])
    kind = 11 if family == 4 else 3
    exceeded = p.icmp(ROUTERS[family], VIPS[family], kind, 0, bytes(4), quoted[: 28 if family == 4 else 48])
    for error in (inner, unreachable, exceeded):
        ran, reason = redirect.feed(wrap(error))
        assert (reason, ran.verdict) == ("forwarded", REDIRECT)
        assert ran.frame == p.ethernet(p.gue(error, src=HERE, dst=PEER, hops=[PEER], next_hop=1))


def test_outer_options_are_honoured(redirect: Redirect) -> None:
    inner, options = segment(4), b"\x01" * 12
    packet = p.gue(inner, src=DIRECTOR, dst=HERE, hops=[PEER], options=options, sum_udp=True)
    after = p.gue(inner, src=HERE, dst=PEER, hops=[PEER], next_hop=1, options=options, sum_udp=True)
    ran, reason = redirect.feed(packet)
    assert (reason, ran.frame) == ("forwarded", p.ethernet(after))
    syn = segment(4, p.SYN)
    ran, reason = redirect.feed(p.gue(syn, src=DIRECTOR, dst=HERE, hops=[PEER], options=options))
    assert (reason, ran.frame) == ("local_syn", p.ethernet(syn))


# --- dropped


def header(
    first: int = 2, protocol: int = 4, flags: int = 0, private: int = 0, index: int = 0, count: int = 1
) -> bytes:
    head = struct.pack("!BBHHBB", first, protocol, flags, private, index, count)
    return head + p.addr(PEER) * min(count, 8)


GUE_HEADERS = {
    "version 1": (header(first=0x42), "bad_version"),
    "version 2": (header(first=0x82), "bad_version"),
    "version 3": (header(first=0xC2), "bad_version"),
    "control": (header(first=0x22), "bad_control"),
    "hlen too small": (header(first=1), "bad_hlen"),
    "hlen 0": (header(first=0), "bad_hlen"),
    "hlen too large": (header(first=3), "bad_hlen"),
    "hlen for 255 hops": (header(first=0, count=255), "bad_hlen"),
    "protocol 17": (header(protocol=17), "bad_protocol"),
    "protocol 0": (header(protocol=0), "bad_protocol"),
    "flags": (header(flags=1), "bad_flags"),
    "private type": (header(private=1), "bad_flags"),
    "8 hops": (header(first=9, count=8), "bad_hop_count"),
    "index beyond count": (header(index=2), "bad_index"),
    "index 255": (header(index=255), "bad_index"),
    "v6 said, v4 inside": (header(protocol=41), "bad_inner"),
}


@pytest.mark.parametrize("name", GUE_HEADERS)
def test_malformed_gue(redirect: Redirect, name: str) -> None:
    gue, expected = GUE_HEADERS[name]
    ran, reason = redirect.feed(wrap(segment(4, p.SYN, bytes(64)), gue))
    assert (reason, ran.verdict) == (expected, SHOT)


@pytest.mark.parametrize("size", [0, 1, 4, 7, 8, 11])
def test_gue_cut_short(redirect: Redirect, size: int) -> None:
    ran, reason = redirect.feed(p.gue(b"", src=DIRECTOR, dst=HERE, header=header()[:size]))
    assert (reason, ran.verdict) == ("truncated", SHOT)


def quoted_by(family: int, size: int) -> bytes:
    """A too-big that quotes only `size` bytes of a TCP packet."""
    quoted = p.tcp(VIPS[family], 80, CLIENTS[family], 40000, p.ACK)[:size]
    if family == 6:
        return p.icmp(ROUTERS[6], VIPS[6], 2, 0, bytes(4), quoted)
    return p.icmp(ROUTERS[4], VIPS[4], 3, 4, bytes(4), quoted)


GOOD4, GOOD6 = segment(4), segment(6)
INNERS = {
    "nothing": b"",
    "one byte": b"\x45",
    "cut ipv4 header": GOOD4[:19],
    "cut ipv6 header": GOOD6[:39],
    "v4 version 5": p.put(GOOD4, 0, b"\x55"),
    "v4 ihl 4": p.put(GOOD4, 0, b"\x44"),
    "v4 ihl beyond packet": p.put(GOOD4, 0, b"\x4f"),
    "v4 total below header": p.put(GOOD4, 2, b"\0\x13"),
    "v4 total beyond packet": p.put(GOOD4, 2, b"\0\x29"),
    "v6 length beyond packet": p.put(GOOD6, 4, b"\0\x15"),
    "v4 tcp cut": p.ipv4(CLIENTS[4], VIPS[4], 6, GOOD4[20:39]),
    "v6 tcp cut": p.ipv6(CLIENTS[6], VIPS[6], 6, GOOD6[40:59]),
    "v4 tcp offset 4": p.put(GOOD4, 32, b"\x40"),
    "v4 tcp offset beyond": p.put(GOOD4, 32, b"\x60"),
    "v6 tcp offset beyond": p.put(GOOD6, 52, b"\xf0"),
    "v6 extension cut": p.ipv6(CLIENTS[6], VIPS[6], 0, b"\x06"),
    "v6 extension outside": p.ipv6(CLIENTS[6], VIPS[6], 0, b"\x06\xff" + bytes(20)),
    "v6 nine extensions": p.ipv6(CLIENTS[6], VIPS[6], 60, b"\x3c".ljust(8, b"\0") * 9 + GOOD6[40:]),
    "v4 icmp cut": p.ipv4(CLIENTS[4], VIPS[4], 1, bytes(7)),
    "v4 quote empty": quoted_by(4, 0),
    "v4 quote cut in ip": quoted_by(4, 19),
    "v4 quote cut in ports": quoted_by(4, 27),
    "v6 quote cut in ip": quoted_by(6, 39),
    "v6 quote cut in ports": quoted_by(6, 47),
}


@pytest.mark.parametrize("name", INNERS)
def test_malformed_client_packet(redirect: Redirect, name: str) -> None:
    protocol = 41 if "v6" in name else 4
    ran, reason = redirect.feed(wrap(INNERS[name], header(protocol=protocol)))
    assert (reason, ran.verdict) == ("bad_inner", SHOT)


@pytest.mark.parametrize(
    ("at", "value"),
    [(2, 200), (24, 500), (24, 7), (24, 8), (24, 19)],
    ids=["ip beyond frame", "udp beyond ip", "udp below header", "udp without gue", "hop cut by udp length"],
)
def test_outer_lengths_that_disagree(redirect: Redirect, at: int, value: int) -> None:
    ran, reason = redirect.feed(p.put(wrap(segment(4, p.SYN)), at, struct.pack("!H", value)))
    assert (reason, ran.verdict) == ("truncated", SHOT)


def test_stranger_is_dropped(redirect: Redirect) -> None:
    ran, reason = redirect.feed(p.gue(segment(4, p.SYN), src=STRANGER, dst=HERE))
    assert (reason, ran.verdict) == ("not_allowed", SHOT)


def test_peer_is_allowed(redirect: Redirect) -> None:
    assert redirect.feed(p.gue(segment(4, p.SYN), src=PEER, dst=HERE))[1] == "local_syn"
    assert redirect.feed(p.gue(segment(4, p.SYN), src="10.78.255.1", dst=HERE))[1] == "local_syn"


def test_outer_fragment_is_dropped(redirect: Redirect) -> None:
    packet = p.gue(segment(4, p.SYN), src=DIRECTOR, dst=HERE, fragment=0x2000)
    ran, reason = redirect.feed(packet)
    assert (reason, ran.verdict) == ("outer_fragment", SHOT)


def test_super_packet_is_dropped(redirect: Redirect) -> None:
    if redirect.way == "nfqueue":
        return  # the kernel takes super-packets apart before it queues them
    ran, reason = redirect.feed(wrap(segment(4, p.ACK, bytes(2000))), gso_size=1000)
    assert (reason, ran.verdict) == ("gso_drop", SHOT)


# --- left alone

OTHERS = {
    "ipv6": p.ethernet(p.udp(CLIENTS[6], 1, VIPS[6], p.GUE_PORT + 1)),
    "later fragment of ipv6": p.ethernet(fragment_v6(CLIENTS[6], VIPS[6])),
    "arp": p.NO_MAC * 2 + b"\x08\x06" + bytes(28),
    "tagged": p.NO_MAC * 2 + b"\x81\x00\x00\x05\x08\x00" + wrap(segment(4)),
    "tcp": p.ethernet(segment(4)),
    "other port": p.ethernet(p.gue(segment(4), src=DIRECTOR, dst=HERE, port=19524)),
    "later fragment": p.ethernet(p.gue(segment(4), src=DIRECTOR, dst=HERE, fragment=0x0001)),
    "cut udp header": p.ethernet(wrap(segment(4))[:27]),
    "ihl 4": p.ethernet(p.put(wrap(segment(4)), 0, b"\x44")),
    "version 6 as ipv4": p.NO_MAC * 2 + b"\x08\x00" + p.put(wrap(segment(4)), 0, b"\x65"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_traffic_is_left_alone(redirect: Redirect, name: str) -> None:
    ran, reason = redirect.feed(OTHERS[name])
    assert (reason, ran.verdict) == ("not_gue", UNSPEC)
    assert ran.frame == OTHERS[name]


def test_frame_for_another_host_is_left_alone(redirect: Redirect) -> None:
    frame = p.put(p.ethernet(wrap(segment(4, p.SYN))), 0, b"\x02\0\0\0\0\x77")
    if redirect.way == "nfqueue":
        return  # netfilter's INPUT has packets for this host only
    before = redirect.status()
    with redirect.namespace.entered():
        ran = bpf.run_program(before["program_id"], frame)
    assert (ran.verdict, ran.frame) == (UNSPEC, frame)
    after = redirect.counters()
    assert after["received"] == before["counters"]["received"]
    assert after["not_gue"] > before["counters"]["not_gue"]


def test_ethernet_padding_is_no_part_of_the_packet(redirect: Redirect) -> None:
    cut = p.put(segment(4, p.SYN), 2, b"\0\x29")  # claims one byte more than there is
    ran, reason = redirect.feed(wrap(cut) + bytes(40))
    assert (reason, ran.verdict) == ("bad_inner", SHOT)
    assert redirect.feed(wrap(segment(4, p.SYN)) + bytes(40))[1] == "local_syn"


# --- limits and settings: each test attaches with its own, and leaves them


def test_unknown_packets_without_a_hop_are_limited(redirect: Redirect) -> None:
    redirect.attach("--last-hop-rate", "5")
    packet = p.gue(segment(4), src=DIRECTOR, dst=HERE)
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(cpus)])  # the limit is for each CPU
    try:
        rans = [redirect.feed(packet) for _ in range(40)]
    finally:
        os.sched_setaffinity(0, cpus)
    seen = Counter((reason, ran.verdict) for ran, reason in rans)
    delivered = seen[("local_last_hop", UNSPEC)]
    assert 5 <= delivered <= 15  # 10 when a second ended meanwhile
    assert seen == {("local_last_hop", UNSPEC): delivered, ("last_hop_limited", SHOT): 40 - delivered}


def test_packets_for_the_next_hop_are_limited(redirect: Redirect) -> None:
    """Apart from those for the stack, and known ones are not held up."""
    redirect.attach("--forward-rate", "5")
    packet = wrap(segment(4))
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(cpus)])  # the limit is for each CPU
    began = time.monotonic()
    try:
        seen = Counter(redirect.feed(packet)[1] for _ in range(40))
        took = time.monotonic() - began
        assert redirect.feed(p.gue(segment(4), src=DIRECTOR, dst=HERE))[1] == "local_last_hop"
        assert redirect.feed(wrap(segment(4, p.SYN)))[1] == "local_syn"
    finally:
        os.sched_setaffinity(0, cpus)
    assert 5 <= seen["forwarded"] <= 5 + 5 * took + 1
    assert seen == {"forwarded": seen["forwarded"], "forward_limited": 40 - seen["forwarded"]}


def test_other_port(redirect: Redirect) -> None:
    redirect.attach("--port", "6080")
    packet = p.gue(segment(4, p.SYN), src=DIRECTOR, dst=HERE, port=6080)
    assert redirect.feed(packet)[1] == "local_syn"
    assert redirect.feed(wrap(segment(4, p.SYN)))[1] == "not_gue"
    unknown = p.gue(segment(4), src=DIRECTOR, dst=HERE, hops=[PEER], port=6080)
    # The limits are the default's again.
    assert Counter(redirect.feed(unknown)[1] for _ in range(40)) == {"forwarded": 40}
