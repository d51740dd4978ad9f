"""Packets that exceed the egress MTU, against the oracle's naive twin: answers, fragments, limits."""

import random
import struct
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from oracle import frames
from oracle.decide import Decision, decide
from oracle.model import Config, Director, Service
from oracle.oversize import fits
from oracle.wrap import checksum, mended
from oracle.wrap_cases import KINDS, PLAIN, draw_director, draw_service, service
from packet_path import as_decision, path_of
from test_packet_path import mutate

ADDRESSES = {4: (frames.CLIENT4, frames.VIP4), 6: (frames.CLIENT6, frames.VIP6)}


def packet(
    version: int, size: int, *, df: bool = True, options: bytes = b"", protocol: int = frames.TCP
) -> bytes:
    """Return a frame whose IP packet has ``size`` bytes."""
    rest = size - (20 + len(options) if version == 4 else 40)
    body = bytes(index % 253 for index in range(rest))
    head = frames.tcp(40000, 80, flags=0x10) if protocol == frames.TCP else frames.udp(5353, 53)
    body = head[:rest] + body[len(head) :]
    if version == 6:
        return frames.v6(body, protocol)
    return frames.v4(body, protocol, options=options, fragment=0x4000 if df else 0)


def one(
    kind: str, versions: tuple[int, ...], backends: list[int], mtu: int, **options: Any
) -> tuple[Config, Director]:
    return Config((service(kind, versions, backends, **options),)), replace(PLAIN, mtu=mtu)


def both(config: Config, director: Director, frame: bytes) -> Decision:
    """Return what the C decided, after comparing it with the oracle."""
    mine = as_decision(path_of(config, director).decide(frame))
    assert mine == decide(config, director, frame), frame.hex()
    return mine


def told(decision: Decision, version: int) -> int:
    """Return the MTU that an answer names, after looking at its headers and sums."""
    assert decision.output is not None
    packet = bytes.fromhex(decision.output)[14:]
    if version == 4:
        assert packet[20:22] == b"\x03\x04"
        assert checksum(packet[:20]) == 0
        assert checksum(packet[20:]) == 0
        assert ip_address(packet[12:16]) == ip_address(frames.VIP4)
        assert ip_address(packet[16:20]) == ip_address(frames.CLIENT4)
        assert len(packet) <= 576
        assert packet[24:26] == b"\0\0"
        return int.from_bytes(packet[26:28])
    pseudo = packet[8:40] + struct.pack(">II", len(packet) - 40, 58)
    assert packet[40:42] == b"\x02\x00"
    assert checksum(pseudo + packet[40:]) == 0
    assert ip_address(packet[8:24]) == ip_address(frames.VIP6)
    assert len(packet) <= 1280
    return int.from_bytes(packet[44:48])


@pytest.mark.parametrize("df", [True, False])
@pytest.mark.parametrize("hops", range(1, 9))
@pytest.mark.parametrize("version", [4, 6])
def test_the_sender_is_told_what_always_fits(version: int, hops: int, df: bool) -> None:
    """Whatever chain a packet has: obeying once is enough."""
    config, director = one("gue", (4, 6), [4] * 9, 1500, hops=hops)
    most = 1500 - 36 - 4 * (hops - 1)
    assert both(config, director, packet(version, most, df=df)).reason == "forwarded"
    for size in (most + 1, 1500, 1800):
        found = both(config, director, packet(version, size, df=df))
        assert (found.verdict, found.reason) == ("answer", "oversize_answered")
        assert told(found, version) == most


def test_short_chains_are_told_no_more_than_long_ones() -> None:
    """A pool of one backend has chains of one hop; with two configured, the MTU told is that of two."""
    config, director = one("gue", (4,), [4], 1500, hops=2)
    assert both(config, director, packet(4, 1464)).reason == "forwarded"
    found = both(config, director, packet(4, 1465))
    assert told(found, 4) == 1460


def test_chains_of_a_second_look_up_count() -> None:
    config, director = one("gue", (4,), [4] * 9, 1500, hops=3, alt_hash_fields=("src_port",))
    assert told(both(config, director, packet(4, 1500)), 4) == 1500 - 36 - 4 * 5
    config, director = one("gue", (4,), [4] * 9, 1500, hops=7, alt_hash_fields=("src_port",))
    assert told(both(config, director, packet(4, 1500)), 4) == 1500 - 36 - 4 * 7


@pytest.mark.parametrize(("mtu", "most"), [(1352, 1280), (1351, 1280), (600, 1280), (1353, 1281)])
def test_ipv6_is_never_told_less_than_1280(mtu: int, most: int) -> None:
    """Over IPv6, two hops: 72 bytes."""
    config, director = one("gue", (6,), [6] * 4, mtu)
    assert told(both(config, director, packet(6, 1400)), 6) == most
    assert both(config, director, packet(6, mtu - 72)).reason == "forwarded"


def test_ipv4_is_never_told_less_than_68() -> None:
    config, director = one("gue", (4,), [4] * 4, 80)
    assert told(both(config, director, packet(4, 100)), 4) == 68


@pytest.mark.parametrize("version", [4, 6])
def test_drop_drops(version: int) -> None:
    config, director = one("gue", (4, 6), [4] * 4, 1500, oversize="drop")
    assert both(config, director, packet(version, 1460)).reason == "forwarded"
    for df in (True, False):
        assert both(config, director, packet(version, 1461, df=df)).reason == "too_long"


def test_without_an_mtu_nobody_is_told() -> None:
    config, director = one("gue", (4,), [4] * 4, 0)
    assert both(config, director, packet(4, 65535)).reason == "too_long"
    assert told(both(*one("gue", (4,), [4] * 4, 65535), packet(4, 65535)), 4) == 65495


@pytest.mark.parametrize("oversize", ["icmp", "fragment", "drop"])
def test_errors_and_nobody_are_not_answered(oversize: str) -> None:
    """RFC 1122, 3.2.2; RFC 4443, 2.4."""
    config, director = one("gue", (4, 6), [4] * 4, 100, oversize=oversize)
    quoted = frames.ipv4(frames.VIP4, frames.CLIENT4, frames.TCP, frames.tcp(80, 40000) + bytes(80))
    error = frames.v4(frames.icmp(3, 4, 1300, quoted), frames.ICMP, fragment=frames.DF)
    assert both(config, director, error).reason == "too_long"
    for source in ("127.0.0.1", "224.0.0.9", "0.1.2.3", "255.255.255.255"):
        frame = frames.v4(frames.tcp(40000, 80, bytes(80)), src=source, fragment=frames.DF)
        assert both(config, director, frame).reason == "too_long"
    for source in ("::1", "::", "ff02::1"):
        frame = frames.v6(frames.tcp(40000, 80, bytes(80)), src=source)
        assert both(config, director, frame).reason == "too_long"


# ---- fragments ----


def reassembled(decision: Decision, front: int) -> tuple[bytes, bytes]:
    """Return the first fragment's header and the payload of all of them, in whatever order they came."""
    assert decision.output is not None
    payload, end = bytearray(), 0
    first = b""
    pieces = [bytes.fromhex(one)[14 + front :] for one in (decision.output, *decision.further)]
    for piece in reversed(pieces):
        at, place = 4 * (piece[0] & 15), int.from_bytes(piece[6:8])
        offset, part = 8 * (place & 0x1FFF), piece[at:]
        assert checksum(piece[:at]) == 0
        assert int.from_bytes(piece[2:4]) == len(piece)
        payload.extend(bytes(max(0, offset + len(part) - len(payload))))
        payload[offset : offset + len(part)] = part
        end = offset + len(part) if not place & 0x2000 else end
        first = piece[:at] if offset == 0 else first
    assert end == len(payload)
    return first, bytes(payload)


@pytest.mark.parametrize("mtu", [1500, 576, 108, 109, 200])
def test_fragments_make_the_packet_again(mtu: int) -> None:
    config, director = one("gue", (4,), [4] * 4, mtu, oversize="fragment")
    for size in (mtu - 39, mtu + 1, 3 * mtu, 1999, 9000):
        if size <= mtu - 40:
            continue
        frame = packet(4, size, df=False)
        found = both(config, director, frame)
        assert (found.verdict, found.reason) == ("forward", "oversize_fragmented")
        assert found.output is not None
        sent = [bytes.fromhex(one) for one in (found.output, *found.further)]
        assert all(len(one) <= 14 + mtu for one in sent)
        assert {one[30:36] for one in sent} == {sent[0][30:36]}  # to one backend, from one port
        header, payload = reassembled(found, 40)
        assert payload == frame[34:]
        assert header[4:6] == frame[18:20]
        assert both(config, director, packet(4, size)).reason == "oversize_answered"


def test_too_little_room_for_fragments_is_as_icmp() -> None:
    config, director = one("gue", (4,), [4] * 4, 40 + 27, oversize="fragment")
    assert both(config, director, packet(4, 100, df=False)).reason == "oversize_answered"
    config, director = one("gue", (4,), [4] * 4, 40 + 28, oversize="fragment")
    assert both(config, director, packet(4, 100, df=False)).reason == "oversize_fragmented"


OPTIONS = {
    "record route": (b"\x07\x07\x04\0\0\0\0\0", 20),  # not copied
    "router alert": (b"\x94\x04\0\0", 24),
    "both": (b"\x94\x04\0\0\x07\x07\x04\0\0\0\0\0", 24),
    "padding between": (b"\x01\x01\x82\x05\x01\x02\x03\0", 28),
    "end before the end": (b"\0\x94\x04\0", 20),
    "length 0": (b"\x94\x00\0\0", 20),
    "beyond the header": (b"\x94\x08\0\0", 20),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_go_with_the_pieces_that_are_to_have_them(name: str) -> None:
    """RFC 791, 3.1: those with the copy bit with all, the others with the first."""
    options, later = OPTIONS[name]
    config, director = one("gue", (4,), [4] * 4, 500, oversize="fragment")
    found = both(config, director, packet(4, 1000, df=False, options=options))
    pieces = [bytes.fromhex(one)[54:] for one in (found.output or "", *found.further)]
    assert [4 * (piece[0] & 15) for piece in pieces] == [20 + len(options)] + [later] * (len(pieces) - 1)
    assert pieces[0][20 : 20 + len(options)] == options


def test_a_fragment_is_cut_smaller() -> None:
    """A first fragment keeps saying that more follow."""
    config, director = one("gue", (4,), [4] * 4, 500, oversize="fragment")
    frame = frames.v4(frames.tcp(40000, 80, bytes(1980)), fragment=0x2000)
    found = both(config, director, frame)
    last = bytes.fromhex(found.further[-1])[54:]
    assert int.from_bytes(last[6:8]) & 0x2000


def test_a_damaged_header_stays_damaged() -> None:
    config, director = one("gue", (4,), [4] * 4, 500, oversize="fragment")
    frame = bytearray(packet(4, 1000, df=False))
    frame[24:26] = mended(bytes(frame[14:34]), bytes(frame[14:22]) + b"\x3f" + bytes(frame[23:34]), 10)
    found = both(config, director, bytes(frame))
    for one_ in (found.output or "", *found.further):
        assert checksum(bytes.fromhex(one_)[54:74]) != 0


# ---- random ----


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_random_packets_are_the_oracles(kind: str, number: int) -> None:
    draw = random.Random(f"oversize {kind} {number}")
    found: set[str] = set()
    for _ in range(6):
        oversize = draw.choice(("icmp", "fragment", "fragment", "drop"))
        chosen: Service = replace(draw_service(draw, kind), oversize=oversize)
        director = replace(draw_director(draw), mtu=draw.choice((0, 96, 280, 1500, draw.randrange(60, 3000))))
        config = Config((chosen,))
        path = path_of(config, director)
        version = chosen.binds[0].prefix.version
        for _ in range(40):
            near = max(fits(chosen, director), 0) + draw.randrange(-4, 40)
            size = max(draw.choice((near, near, draw.randrange(60, 4000))), 80)
            options = draw.choice((b"", b"", b"\x94\x04\0\0", draw.randbytes(4 * draw.randrange(1, 11))))
            protocol = draw.choice((frames.TCP, frames.UDP))
            frame = packet(version, size, df=draw.random() < 0.4, options=options, protocol=protocol)
            if draw.random() < 0.4:
                frame = mutate(draw, frame)
            mine = as_decision(path.decide(frame))
            assert mine == decide(config, director, frame), (frame.hex(), chosen, director)
            found.add(mine.reason)
    assert "forwarded" in found
