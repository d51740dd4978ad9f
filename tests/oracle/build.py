"""Frames made by hand: every field that a test may want wrong is an argument."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from oracle.wrap import checksum, mac

CLIENT_MAC, LOCAL_MAC = "02:00:00:00:00:aa", "02:00:00:00:00:01"
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806


def ethernet(
    payload: bytes,
    kind: int,
    tags: tuple[tuple[int, int], ...] = (),
    dst: str = LOCAL_MAC,
    src: str = CLIENT_MAC,
    minimum: int = 0,
) -> bytes:
    """Return a frame; tags are (TPID, VLAN id); it is padded with zeros to `minimum` bytes."""
    header = mac(dst) + mac(src)
    for tpid, vlan in tags:
        header += struct.pack(">HH", tpid, vlan)
    return (header + struct.pack(">H", kind) + payload).ljust(minimum, b"\0")


def ipv4(
    src: str,
    dst: str,
    protocol: int,
    payload: bytes,
    options: bytes = b"",
    identification: int = 1,
    fragment: int = 0,
    tos: int = 0,
    total: int | None = None,
    ihl: int | None = None,
    version: int = 4,
) -> bytes:
    """Return an IPv4 packet; `fragment` is the whole 16-bit field, flags and offset."""
    size = 20 + len(options)
    first = version << 4 | (size // 4 if ihl is None else ihl)
    length = size + len(payload) if total is None else total
    header = struct.pack(">BBHHHBBH", first, tos, length, identification, fragment, 64, protocol, 0)
    header += ip_address(src).packed + ip_address(dst).packed + options
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def ipv6(
    src: str,
    dst: str,
    protocol: int,
    payload: bytes,
    label: int = 0,
    traffic_class: int = 0,
    length: int | None = None,
    version: int = 6,
) -> bytes:
    """Return an IPv6 packet; extension headers are part of `payload`, `protocol` is the first one's."""
    size = len(payload) if length is None else length
    first = version << 28 | traffic_class << 20 | label
    header = struct.pack(">IHBB", first, size, protocol, 64)
    return header + ip_address(src).packed + ip_address(dst).packed + payload


def extension(following: int, size: int = 8, units: int | None = None) -> bytes:
    """Return a hop-by-hop, routing or destination header of `size` bytes, filled by one PadN option."""
    length = size // 8 - 1 if units is None else units
    return struct.pack(">BBBB", following, length, 1, size - 4).ljust(size, b"\0")


def authentication(following: int, size: int = 24) -> bytes:
    return struct.pack(">BBHII", following, size // 4 - 2, 0, 0x100, 1).ljust(size, b"\0")


def fragment(following: int, offset: int, more: bool, identification: int = 9) -> bytes:
    """Return an IPv6 fragment header; offset in units of 8 bytes."""
    return struct.pack(">BBHI", following, 0, offset << 3 | more, identification)


def tcp(sport: int, dport: int, payload: bytes = b"", flags: int = 0x02, options: bytes = b"") -> bytes:
    offset = (20 + len(options)) // 4
    header = struct.pack(">HHIIBBHHH", sport, dport, 1, 0, offset << 4, flags, 8192, 0, 0)
    return header + options + payload


def udp(sport: int, dport: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload


def icmp(kind: int, code: int, rest: int = 0, payload: bytes = b"") -> bytes:
    """Return an ICMP or ICMPv6 message; the checksum is ICMP's (nothing on the way verifies it)."""
    message = struct.pack(">BBHI", kind, code, 0, rest) + payload
    return message[:2] + struct.pack(">H", checksum(message)) + message[4:]
