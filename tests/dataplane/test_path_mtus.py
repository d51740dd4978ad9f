"""Routers between director and backends say that an outer packet is too big: who is believed, who is told."""

import struct
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from oracle.build import IPV4, IPV6, ethernet, icmp, ipv4, ipv6, tcp

from dataplane.rig import BACKENDS, VIP, Director, Segment, snapshot
from dataplane.test_veth import AF_PACKET, CLIENT, CLIENT6, VIP6
from glbpy.forwarder import PathMtu

Make = Callable[..., Director]
Name = Callable[[str], str]

SOURCE6, ROUTER, ROUTER6 = "fd00::2", "10.7.7.7", "fd00:7::7"
BACKENDS6 = ("fd00:1::11", "fd00:1::12", "fd00:1::13")
MTU, BIG = 1400, 1480


def client_packet(family: int, segment: Segment, length: int, sport: int = 40000) -> bytes:
    """A TCP packet of `length` bytes of IP, with DF."""
    if family == 4:
        whole = ipv4(CLIENT, VIP, 6, tcp(sport, 80, bytes(length - 40), flags=0x10), fragment=0x4000)
        return ethernet(whole, IPV4, dst=segment.mac)
    whole = ipv6(CLIENT6, VIP6, 6, tcp(sport, 80, bytes(length - 60), flags=0x10))
    return ethernet(whole, IPV6, dst=segment.mac)


def seen(segment: Segment, wanted: Callable[[bytes], bool]) -> bytes:
    """Wait for a frame of the director's."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            frame = segment.wire.socket.recv(65535)
        except TimeoutError:
            continue
        if frame[6:12] == bytes.fromhex(segment.mac.replace(":", "")) and wanted(frame):
            return frame
    raise AssertionError("no such frame came")


def is_gue(frame: bytes) -> bool:
    at, protocol = (34, frame[23]) if frame[12:14] == b"\x08\x00" else (54, frame[20])
    return protocol == 17 and frame[at + 2 : at + 4] == struct.pack("!H", 19523)


def is_told(frame: bytes) -> bool:
    """An ICMP frag-needed or packet-too-big."""
    if frame[12:14] == b"\x08\x00":
        return frame[23] == 1 and frame[34:36] == b"\x03\x04"
    return frame[20] == 58 and frame[54:56] == b"\x02\x00"


def too_big(outer: bytes, mtu: int, mac: str, destination: str | None = None, quoted: int = 548) -> bytes:
    """What a router says of an outer packet, a frame of the director's; `destination` instead of its own."""
    packet = outer[14:]
    if outer[12:14] == b"\x08\x00":
        source = str(ip_address(packet[12:16]))
        if destination:
            packet = packet[:16] + ip_address(destination).packed + packet[20:]
        return ethernet(ipv4(ROUTER, source, 1, icmp(3, 4, mtu, packet[:quoted])), IPV4, dst=mac)
    source = str(ip_address(packet[8:24]))
    if destination:
        packet = packet[:24] + ip_address(destination).packed + packet[40:]
    return ethernet(ipv6(ROUTER6, source, 58, icmp(2, 0, mtu, packet[:quoted])), IPV6, dst=mac)


def told_mtu(frame: bytes) -> int:
    at = 34 if frame[12:14] == b"\x08\x00" else 54
    return int.from_bytes(frame[at + 4 : at + 8], "big") & 0xFFFFFFFF


def destination_of(outer: bytes) -> str:
    return str(ip_address(outer[30:34] if outer[12:14] == b"\x08\x00" else outer[38:54]))


def start(make: Make, name: Name, segment: Segment, family: int, **forward: int) -> Director:
    director = make(
        name("ways"), AF_PACKET, prefix=segment.prefix,
        forward={"outer_source_v6": SOURCE6, **forward},
    )  # fmt: skip
    load(director, family)
    return director.start()


def load(director: Director, family: int, revision: int = 1) -> Path:
    backends = BACKENDS if family == 4 else BACKENDS6
    return snapshot(director.snapshot, also=[VIP6], backends=backends, revision=revision)


def wait_known(director: Director, count: int) -> list[PathMtu]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        known = director.client.status().path_mtus
        assert known
        if len(known.backends) == count:
            return known.backends
        time.sleep(0.02)
    raise AssertionError(f"never {count} MTUs")


@pytest.mark.parametrize("client", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
def test_a_router_is_believed(make: Make, name: Name, segment: Segment, client: int, outer: int) -> None:
    director = start(make, name, segment, outer)
    send = segment.wire.send
    send([client_packet(client, segment, BIG)])
    frame = seen(segment, is_gue)
    send([too_big(frame, MTU, segment.mac)])
    (known,) = wait_known(director, 1)
    assert (known.address, known.mtu) == (destination_of(frame), MTU)
    assert known.said_s < 10
    send([client_packet(client, segment, BIG)])
    fits = MTU - (40 if outer == 4 else 72)  # two hops
    assert told_mtu(seen(segment, is_told)) == fits
    send([client_packet(client, segment, fits)])
    assert len(seen(segment, is_gue)) == 14 + MTU
    director.client.load(load(director, outer, revision=2))  # it outlives snapshots
    send([client_packet(client, segment, fits + 1)])
    assert told_mtu(seen(segment, is_told)) == fits
    counters = director.counters()
    assert (counters["outer_too_big"], counters["outer_too_big_ignored"]) == (1, 0)
    assert counters["oversize_answered"] == 2
    assert wait_known(director, 1)[0].id == known.id


def test_who_is_not_believed(make: Make, name: Name, segment: Segment) -> None:
    """What cannot be, what is about nobody, and what is about no outer packet change nothing."""
    director = start(make, name, segment, 4)
    segment.wire.send([client_packet(4, segment, BIG)])
    frame, mac = seen(segment, is_gue), segment.mac
    other_port = frame[:36] + struct.pack("!H", 53) + frame[38:]
    segment.wire.send([too_big(frame, mtu, mac) for mtu in (0, 68, 575, len(frame) - 14, 1600, 9000)])
    stranger = too_big(frame, MTU, mac, quoted=28, destination="10.1.0.99")
    segment.wire.send([too_big(other_port, MTU, mac), stranger])
    director.wait_for("outer_too_big", 1)
    counters = director.wait_for("outer_too_big_ignored", 6)
    assert (counters["outer_too_big"], counters["outer_too_big_ignored"], counters["not_vip"]) == (1, 6, 1)
    deadline = time.monotonic() + 10
    while (known := director.client.status().path_mtus) and not known.refused:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert known
    assert (known.known, known.refused, known.backends) == (0, 1, [])
    segment.wire.send([client_packet(4, segment, BIG)])
    seen(segment, is_gue)


def test_a_flood_of_them_is_bounded(make: Make, name: Name, segment: Segment) -> None:
    """Each costs the main lcore a look at all backends: a worker passes on a hundred a second."""
    director = start(make, name, segment, 4)
    segment.wire.send([client_packet(4, segment, BIG)])
    frame = seen(segment, is_gue)
    began = time.monotonic()
    segment.wire.send([too_big(frame, MTU, segment.mac, destination="10.1.0.99")] * 2000)
    counters = director.wait_for("outer_too_big", 2000)
    took = time.monotonic() - began
    known = director.client.status().path_mtus
    assert counters["outer_too_big"] == 2000
    assert known
    assert 0 < known.refused <= 32 + 100 * (took + 1)


@pytest.mark.parametrize("seconds", [0, 1])
def test_it_is_forgotten(make: Make, name: Name, segment: Segment, seconds: int) -> None:
    """After path_mtu_seconds; with 0 it is never learned."""
    director = start(make, name, segment, 4, path_mtu_seconds=seconds)
    segment.wire.send([client_packet(4, segment, BIG)])
    segment.wire.send([too_big(seen(segment, is_gue), MTU, segment.mac)])
    director.wait_for("outer_too_big", 1)
    if seconds:
        wait_known(director, 1)
    wait_known(director, 0)
    segment.wire.send([client_packet(4, segment, BIG)])
    seen(segment, is_gue)
