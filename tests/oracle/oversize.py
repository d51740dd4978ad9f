"""Packets that would exceed the egress MTU as they are sent: told so, fragmented or dropped. Naive.

RFC 791 (3.2), 792, 1191, 4443 (3.2, 2.4).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

from oracle import reject
from oracle.model import Director, Service
from oracle.parse import Packet, Rejected, be16
from oracle.wrap import mac, mended

HOPS_MAX = 8
V4_MIN, V6_MIN = 68, 1280
DF, MF, OFFSET = 0x4000, 0x2000, 0x1FFF
BYTES = {  # in front of the client's packet, by the outer header's version, without hops
    "gue": (36, 56), "gre": (24, 44), "ipip": (20, 0), "ip6ip6": (0, 40), "4in6": (0, 40), "6in4": (20, 0),
}  # fmt: skip


def fits(service: Service, director: Director) -> int:
    """Return the longest packet of the service's that can be sent whatever its chain, in bytes of IP."""
    versions = {6 if ":" in backend.address else 4 for backend in service.backends} or {4}
    return min(director.mtu - overhead(service, version) for version in versions)


def overhead(service: Service, version: int) -> int:
    if service.encapsulation not in BYTES:
        return 0
    bytes_ = BYTES[service.encapsulation][version == 6]
    if service.encapsulation == "gre":
        return bytes_ + (0 if service.gre_key is None else 4)
    if service.encapsulation != "gue":
        return bytes_
    hops = min(service.hops * (2 if service.alt_hash_fields else 1), HOPS_MAX)
    return bytes_ + (hops - 1) * (4 if version == 4 else 16)


def resolve(
    service: Service,
    director: Director,
    packet: Packet,
    rewritten: Packet,
    frame: bytes,
    send: Callable[[Packet], bytes],
) -> tuple[str, list[bytes]]:
    """Return the reason and the frames to send; ``send`` wraps a packet. Raises Rejected for a drop."""
    most = fits(service, director)
    if service.oversize == "drop":
        raise Rejected("too_long")
    if service.oversize == "fragment" and may_be_cut(packet.inner, most):
        return "oversize_fragmented", [send(piece) for piece in pieces(rewritten, most)]
    errors = ("too_big", "error", "icmp", "fragment", "error_not_ours")
    if packet.kind in errors or not reject.from_someone(packet):
        raise Rejected("too_long")
    return "oversize_answered", [told(packet, frame, mac(director.local_mac), most)]


def told(packet: Packet, frame: bytes, local_mac: bytes, most: int) -> bytes:
    if packet.vip.version == 4:
        message = struct.pack(">BBHI", 3, 4, 0, max(most, V4_MIN)) + packet.inner[: 576 - 28]
        answer = reject.ip(packet, 1, message, 2)
    else:
        message = struct.pack(">BBHI", 2, 0, 0, max(most, V6_MIN)) + packet.inner[: 1280 - 48]
        answer = reject.ip(packet, 58, message, 2)
    head = frame[: frame.index(packet.inner, 14)]
    return frame[6:12] + local_mac + head[12:] + answer


def may_be_cut(inner: bytes, most: int) -> bool:
    if inner[0] >> 4 != 4 or be16(inner, 6) & DF or most < 4 * (inner[0] & 15) + 8:
        return False
    return 8 * (be16(inner, 6) & OFFSET) + len(inner) <= 0xFFFF


def copied(options: bytes) -> bytes:
    """Return the options that every fragment has."""
    kept = b""
    while options and options[0] != 0:
        if options[0] == 1:
            options = options[1:]
            continue
        size = options[1] if len(options) > 1 else 0
        if size < 2 or size > len(options):
            break
        if options[0] & 0x80:
            kept += options[:size]
        options = options[size:]
    return kept + bytes(-len(kept) % 4)


def pieces(packet: Packet, most: int) -> list[Packet]:
    inner = packet.inner
    at = 4 * (inner[0] & 15)
    first, payload = inner[:at], inner[at:]
    later = first[:20] + copied(first[20:])
    later = bytes([0x40 | len(later) // 4]) + later[1:]
    each = (most - at) // 8 * 8
    made = []
    for start in range(0, len(payload), each):
        part, head = payload[start : start + each], later if start else first
        more = MF if start + each < len(payload) else be16(inner, 6) & MF
        place = ((be16(inner, 6) & ~MF) + start // 8) | more
        size = struct.pack(">H", len(head) + len(part))
        new = head[:2] + size + head[4:6] + struct.pack(">H", place) + head[8:]
        new = new[:10] + adjusted(first, new) + new[12:]
        made.append(replace(packet, inner=new + part))
    return made


def adjusted(old: bytes, new: bytes) -> bytes:
    """Return the checksum with which a header is as right, or as wrong, as another of another length."""
    size = max(len(old), len(new))
    return mended(old.ljust(size, b"\0"), new.ljust(size, b"\0"), 10)
