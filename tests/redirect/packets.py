"""Builds packets, byte by byte. Knows nothing of glb-redirect's code: docs/wire/gue.md is what it follows."""

import socket
import struct
from collections.abc import Sequence
from ipaddress import ip_address

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
GUE_PORT = 19523
NO_MAC = bytes(6)


def addr(text: str) -> bytes:
    return ip_address(text).packed


def is_v6(text: str) -> bool:
    return ":" in text


def checksum(data: bytes) -> int:
    """The Internet checksum: 0 over data whose own checksum is right."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo(src: str, dst: str, protocol: int, length: int) -> bytes:
    if is_v6(src):
        return addr(src) + addr(dst) + struct.pack("!IxxxB", length, protocol)
    return addr(src) + addr(dst) + struct.pack("!xBH", protocol, length)


def put(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def ipv4(
    src: str, dst: str, protocol: int, payload: bytes, *, fragment: int = 0x4000, options: bytes = b""
) -> bytes:
    ihl = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH", 0x40 | ihl, 0, ihl * 4 + len(payload), 0, fragment, 64, protocol, 0)
    head += addr(src) + addr(dst) + options
    return put(head, 10, struct.pack("!H", checksum(head))) + payload


def ipv6(src: str, dst: str, protocol: int, payload: bytes) -> bytes:
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + addr(src) + addr(dst) + payload


def ip(src: str, dst: str, protocol: int, payload: bytes) -> bytes:
    return (ipv6 if is_v6(src) else ipv4)(src, dst, protocol, payload)


def fragments(packet: bytes, size: int, ident: int) -> list[bytes]:
    """The packet in fragments with `size` bytes of payload each, a multiple of 8, but for the last."""
    v6 = packet[0] >> 4 == 6
    head = 40 if v6 else (packet[0] & 15) * 4
    pieces = []
    for at in range(0, len(packet) - head, size):
        part, more = packet[head + at : head + at + size], head + at + size < len(packet)
        if v6:
            part = struct.pack("!BBHI", packet[6], 0, at | more, ident) + part
            front = put(put(packet[:40], 4, struct.pack("!H", len(part))), 6, b"\x2c")
        else:
            total, where = head + len(part), at // 8 | more << 13
            front = put(packet[:head], 2, struct.pack("!HHH", total, ident, where))
            front = put(front, 10, bytes(2))
            front = put(front, 10, struct.pack("!H", checksum(front)))
        pieces.append(front + part)
    return pieces


def with_tos(packet: bytes, tos: int) -> bytes:
    """The packet with this TOS or traffic class, and for IPv4 the header checksum, set."""
    if packet[0] >> 4 == 6:
        return put(packet, 0, bytes([0x60 | tos >> 4, tos << 4 & 0xF0 | packet[1] & 15]))
    size = (packet[0] & 15) * 4
    head = put(put(packet[:size], 1, bytes([tos])), 10, bytes(2))
    return put(head, 10, struct.pack("!H", checksum(head))) + packet[size:]


def tcp(
    src: str, sport: int, dst: str, dport: int, flags: int, *, seq: int = 0, ack: int = 0, data: bytes = b"",
    options: bytes = b"",
) -> bytes:  # fmt: skip
    """An IP packet with a TCP segment. ``options`` have a multiple of 4 bytes."""
    offset = 0x50 + (len(options) // 4 << 4)
    head = struct.pack("!HHIIBBHHH", sport, dport, seq % 2**32, ack % 2**32, offset, flags, 65535, 0, 0)
    head += options
    total = checksum(pseudo(src, dst, 6, len(head) + len(data)) + head + data)
    return ip(src, dst, 6, put(head, 16, struct.pack("!H", total)) + data)


def udp(src: str, sport: int, dst: str, dport: int, data: bytes = b"") -> bytes:
    head = struct.pack("!HHHH", sport, dport, 8 + len(data), 0)
    total = checksum(pseudo(src, dst, 17, 8 + len(data)) + head + data) or 0xFFFF
    return ip(src, dst, 17, put(head, 6, struct.pack("!H", total)) + data)


def icmp(src: str, dst: str, kind: int, code: int, rest: bytes, data: bytes) -> bytes:
    body = struct.pack("!BBH", kind, code, 0) + rest + data
    before = pseudo(src, dst, 58, len(body)) if is_v6(src) else b""
    return ip(src, dst, 58 if is_v6(src) else 1, put(body, 2, struct.pack("!H", checksum(before + body))))


def too_big(router: str, vip: str, mtu: int, quoted: bytes) -> bytes:
    """ICMP fragmentation needed, or ICMPv6 packet too big, about a packet that the VIP sent."""
    if is_v6(vip):
        return icmp(router, vip, 2, 0, struct.pack("!I", mtu), quoted[:1200])
    return icmp(router, vip, 3, 4, struct.pack("!HH", 0, mtu), quoted[:28])


def gue_header(protocol: int, hops: Sequence[str], next_hop: int = 0, v6: bool = False) -> bytes:
    words = len(hops) * (4 if v6 else 1)
    head = struct.pack("!BBHHBB", 1 + words, protocol, 0, v6, next_hop, len(hops))
    return head + b"".join(map(addr, hops))


def gue(
    inner: bytes,
    *,
    src: str,
    dst: str,
    hops: Sequence[str] = (),
    next_hop: int = 0,
    header: bytes | None = None,
    sum_udp: bool = False,
    port: int = GUE_PORT,
    sport: int = 0x8765,
    options: bytes = b"",
    fragment: int = 0x4000,
) -> bytes:
    """An outer packet of the family of `src` around a client's packet; `hops` are those after `dst`."""
    protocol = 41 if inner[:1] and inner[0] >> 4 == 6 else 4
    body = (gue_header(protocol, hops, next_hop, is_v6(src)) if header is None else header) + inner
    head = struct.pack("!HHHH", sport, port, 8 + len(body), 0)
    if sum_udp:
        total = checksum(pseudo(src, dst, 17, 8 + len(body)) + head + body) or 0xFFFF
        head = put(head, 6, struct.pack("!H", total))
    if is_v6(src):
        return ipv6(src, dst, 17, head + body)
    return ipv4(src, dst, 17, head + body, options=options, fragment=fragment)


def gre(inner: bytes, *, src: str, dst: str, key: int | None = None, header: bytes | None = None) -> bytes:
    """An outer packet of the family of `src` with a GRE header, `header` where given."""
    kind = 0x86DD if inner[:1] and inner[0] >> 4 == 6 else 0x0800
    if header is None:
        header = struct.pack("!HH", 0, kind) if key is None else struct.pack("!HHI", 0x2000, kind, key)
    return ip(src, dst, 47, header + inner)


def ip_in_ip(inner: bytes, *, src: str, dst: str) -> bytes:
    """ipip, 6in4, 4in6 or ip6ip6, by the families of `src` and of what is inside."""
    return ip(src, dst, 41 if inner[:1] and inner[0] >> 4 == 6 else 4, inner)


def ethernet(packet: bytes, dst: bytes = NO_MAC, src: bytes = NO_MAC) -> bytes:
    kind = 0x86DD if packet[:1] and packet[0] >> 4 == 6 else 0x0800
    return dst + src + struct.pack("!H", kind) + packet


class Segment:
    """A TCP segment read from a frame, with what tests ask of it."""

    def __init__(self, frame: bytes) -> None:
        self.packet = frame[14:]
        if self.packet[0] >> 4 == 6:
            self.src = socket.inet_ntop(socket.AF_INET6, self.packet[8:24])
            self.dst = socket.inet_ntop(socket.AF_INET6, self.packet[24:40])
            self.protocol, at = self.packet[6], 40
        else:
            self.src = socket.inet_ntop(socket.AF_INET, self.packet[12:16])
            self.dst = socket.inet_ntop(socket.AF_INET, self.packet[16:20])
            self.protocol, at = self.packet[9], (self.packet[0] & 15) * 4
        self.sport = self.dport = self.seq = self.ack = self.flags = 0
        self.options = b""
        if self.protocol == 6:
            fields = struct.unpack_from("!HHIIBB", self.packet, at)
            self.sport, self.dport, self.seq, self.ack, offset, self.flags = fields
            self.options = self.packet[at + 20 : at + (offset >> 4) * 4]
