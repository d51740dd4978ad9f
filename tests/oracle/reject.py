"""Replies to packets that no service takes: a TCP reset, or ICMP port unreachable (RFC 9293, 792, 4443)."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from oracle.parse import Packet

FIN, SYN, RST, ACK = 1, 2, 4, 16


def possible(packet: Packet) -> bool:
    """Whether it is TCP but no reset, or UDP, and comes from an address that can be answered."""
    if not from_someone(packet) or packet.kind not in ("tcp", "udp"):
        return False
    return packet.kind == "udp" or not packet.inner[transport_at(packet) + 13] & RST


def from_someone(packet: Packet) -> bool:
    """Whether it comes from an address that can be answered."""
    source = packet.src
    if source.version == 4:
        return not (source.is_loopback or source.packed[0] == 0 or source.packed[0] >= 224)
    return not source.is_multicast and source not in (ip_address("::"), ip_address("::1"))


def transport_at(packet: Packet) -> int:
    """Return where TCP or UDP begins: what is behind it has its ports."""
    inner = packet.inner
    if inner[0] >> 4 == 4:
        return 4 * (inner[0] & 15)
    at, kind = 40, inner[6]
    while kind not in (6, 17):
        size = 8 if kind == 44 else 4 * (inner[at + 1] + 2) if kind == 51 else 8 * (inner[at + 1] + 1)
        kind, at = inner[at], at + size
    return at


def ones(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ip(packet: Packet, protocol: int, payload: bytes, checksum_at: int) -> bytes:
    """Return the IP packet back to the client, its payload's checksum filled in."""
    source, target = packet.vip.packed, packet.src.packed
    pseudo = b"" if protocol == 1 else source + target + struct.pack(">II", len(payload), protocol)
    payload = payload[:checksum_at] + struct.pack(">H", ones(pseudo + payload)) + payload[checksum_at + 2 :]
    if packet.vip.version == 6:
        return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + source + target + payload
    header = (
        struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0) + source + target
    )
    return header[:10] + struct.pack(">H", ones(header)) + header[12:] + payload


def reset(packet: Packet) -> bytes:
    at = transport_at(packet)
    sport, dport, sequence, acknowledged, offset, flags = struct.unpack_from(">HHIIBB", packet.inner, at)
    taken = max(len(packet.inner) - at - 4 * (offset >> 4), 0) + bool(flags & SYN) + bool(flags & FIN)
    answer = (acknowledged, 0, RST) if flags & ACK else (0, (sequence + taken) & 0xFFFFFFFF, RST | ACK)
    return ip(
        packet, 6, struct.pack(">HHIIBBHHH", dport, sport, answer[0], answer[1], 0x50, answer[2], 0, 0, 0), 16
    )


def unreachable(packet: Packet) -> bytes:
    if packet.vip.version == 4:
        return ip(packet, 1, struct.pack(">BBHI", 3, 3, 0, 0) + packet.inner[: 576 - 28], 2)
    return ip(packet, 58, struct.pack(">BBHI", 1, 4, 0, 0) + packet.inner[: 1280 - 48], 2)


def reply(packet: Packet, frame: bytes, local_mac: bytes) -> bytes:
    """Return the frame to send: the request's Ethernet header and tags turned round, and the answer."""
    head = frame[: frame.index(packet.inner, 14)]
    return (
        frame[6:12] + local_mac + head[12:] + (reset(packet) if packet.kind == "tcp" else unreachable(packet))
    )
