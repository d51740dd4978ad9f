"""What a director sends, for each encapsulation: naive, with every sum taken over all bytes.

A checksum that was wrong when the client's packet came stays wrong by as much, so that the backend drops it.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Network, IPv6Network, ip_address

from oracle.model import Director, Service
from oracle.parse import ICMPV6, TCP, UDP, Packet, Rejected, be16, ipv4_header, ipv6_header

GUE_PORT = 19523
IPIP, IPV6, GRE = 4, 41, 47
PORTLESS = ("gre", "ipip", "ip6ip6", "4in6", "6in4")  # their outer source varies within the prefix
TUNNELS = ("gue", *PORTLESS)
REWRITES = ("l3dsr", "nat")
QUOTING = ("too_big", "error")  # kinds of packets


class Exceeds(Exception):
    """As sent it would be longer than the MTU."""


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def checksum(data: bytes) -> int:
    """Return the Internet checksum of data, padded to even length."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def wrap(service: Service, director: Director, chain: list[str], value: int, packet: Packet) -> bytes:
    """Return the frame that goes to the chain's first backend. `value` is the flow hash.

    Raises Exceeds where there is an MTU and it does not fit, Rejected where it would be no IP packet."""
    try:
        sent = sent_packet(service, director, chain, value, packet)
    except Rejected:
        if director.mtu:
            raise Exceeds from None
        raise
    if director.mtu and len(sent) > director.mtu:
        raise Exceeds
    kind = b"\x08\x00" if sent[0] >> 4 == 4 else b"\x86\xdd"
    return mac(director.gateway_mac) + mac(director.local_mac) + kind + sent


def sent_packet(service: Service, director: Director, chain: list[str], value: int, packet: Packet) -> bytes:
    if service.encapsulation in REWRITES:
        return rewrite(service, chain[0], packet)
    if service.encapsulation == "l2dsr":
        return packet.inner
    return tunnel(service, director, chain, value ^ packet.hint, packet.inner)


# ---- tunnels ----


def outer_tos(service: Service, inner: bytes) -> int:
    tos = inner[1] if inner[0] >> 4 == 4 else be16(inner, 0) >> 4 & 0xFF
    dscp = tos >> 2 if service.outer_dscp == "copy" else service.outer_dscp
    return dscp << 2 | (tos & 3 if service.ecn == "copy" else 0)


def source(service: Service, director: Director, version: int, varies: int) -> bytes:
    """Return the outer source: the director's address, or one of its prefix, chosen by flow."""
    prefix: IPv4Network | IPv6Network | None = director.prefix(version)
    if service.encapsulation not in PORTLESS or prefix is None:
        return ip_address(director.source_v4 if version == 4 else director.source_v6).packed
    return prefix[varies % prefix.num_addresses].packed


def tunnel(service: Service, director: Director, chain: list[str], varies: int, inner: bytes) -> bytes:
    first, *rest = [ip_address(hop) for hop in chain]
    protocol = IPIP if inner[0] >> 4 == 4 else IPV6
    src, dst = source(service, director, first.version, varies), first.packed
    payload = inner
    if service.encapsulation == "gre":
        key = service.gre_key
        head = struct.pack(">HH", 0 if key is None else 0x2000, 0x0800 if protocol == IPIP else 0x86DD)
        payload = head + (b"" if key is None else struct.pack(">I", key)) + inner
        protocol = GRE
    elif service.encapsulation == "gue":
        hops = [hop.packed for hop in rest if hop.version == first.version]
        words = 1 + len(b"".join(hops)) // 4
        head = struct.pack(">BBHHBB", words, protocol, 0, int(first.version == 6), 0, len(hops))
        payload = udp(director, src, dst, 0x8000 | varies & 0x7FFF, head + b"".join(hops) + inner)
        protocol = UDP
    return ip(outer_tos(service, inner), varies, src, dst, protocol, payload)


def udp(director: Director, src: bytes, dst: bytes, port: int, payload: bytes) -> bytes:
    if 8 + len(payload) > 0xFFFF:
        raise Rejected("too_long")
    datagram = struct.pack(">HHHH", port, GUE_PORT, 8 + len(payload), 0) + payload
    wanted = director.checksum if len(src) == 4 else director.checksum_v6
    if wanted == "computed":
        total = checksum(pseudo(src, dst, UDP, len(datagram)) + datagram) or 0xFFFF
        datagram = datagram[:6] + struct.pack(">H", total) + datagram[8:]
    return datagram


def pseudo(src: bytes, dst: bytes, protocol: int, length: int) -> bytes:
    return src + dst + struct.pack(">I", length) + struct.pack(">I", protocol)


def ip(tos: int, varies: int, src: bytes, dst: bytes, protocol: int, payload: bytes) -> bytes:
    total = 20 + len(payload)
    if (total if len(src) == 4 else len(payload)) > 0xFFFF:
        raise Rejected("too_long")
    if len(src) == 16:
        start = 6 << 28 | tos << 20 | varies & 0xFFFFF
        return struct.pack(">IHBB", start, len(payload), protocol, 64) + src + dst + payload
    header = struct.pack(">BBHHHBBH", 0x45, tos, total, 0, 0x4000, 64, protocol, 0) + src + dst
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


# ---- rewritten in place ----


def rewrite(service: Service, backend: str, packet: Packet) -> bytes:
    """Return the client's packet with another destination; for nat another port, for l3dsr another DSCP."""
    old, new = packet.inner, bytearray(packet.inner)
    v4 = old[0] >> 4 == 4
    header = ipv4_header(old) if v4 else ipv6_header(old)
    assert header is not None
    at, port = header.payload, service.backend_port
    new[16 if v4 else 24 : 20 if v4 else 40] = ip_address(backend).packed
    if service.encapsulation == "l3dsr":
        set_dscp(new, service.dscp)
    elif packet.kind in QUOTING:
        requote(new, at + 8, backend, port)
    elif port is not None and packet.kind in ("tcp", "udp"):
        new[at + 2 : at + 4] = struct.pack(">H", port)
    if v4:
        new[10:12] = mended(old[:at], new[:at], 10)
    field = checksum_field(packet)
    if field is not None and not (packet.kind == "udp" and be16(old, at + field) == 0):
        front = len(covered(old, at, packet)) - len(old) + at
        value = mended(covered(old, at, packet), covered(bytes(new), at, packet), front + field)
        new[at + field : at + field + 2] = b"\xff\xff" if packet.kind == "udp" and not any(value) else value
    return bytes(new)


def set_dscp(new: bytearray, dscp: int) -> None:
    if new[0] >> 4 == 4:
        new[1] = dscp << 2 | new[1] & 3
    else:
        new[0:2] = struct.pack(">H", be16(new, 0) & 0xF03F | dscp << 6)


def requote(new: bytearray, at: int, backend: str, port: int | None) -> None:
    """Make the quoted packet, which the VIP seems to have sent, the backend's."""
    old = bytes(new[at:])
    v4 = old[0] >> 4 == 4
    header = ipv4_header(old) if v4 else ipv6_header(old)
    assert header is not None
    new[at + (12 if v4 else 8) : at + (16 if v4 else 24)] = ip_address(backend).packed
    if v4:
        new[at + 10 : at + 12] = mended(old[: header.payload], new[at : at + header.payload], 10)
    if port is not None:
        new[at + header.payload : at + header.payload + 2] = struct.pack(">H", port)


def checksum_field(packet: Packet) -> int | None:
    """Return where in the transport header the checksum is."""
    return {"tcp": 16, "udp": 6, "too_big": 2, "error": 2, "echo": 2}.get(packet.kind)


def covered(ip_packet: bytes, at: int, packet: Packet) -> bytes:
    """Return what the transport checksum covers: for ICMP the message, else also a pseudo header."""
    v4 = ip_packet[0] >> 4 == 4
    if v4 and packet.kind in ("echo", *QUOTING):
        return ip_packet[at:]
    protocol = {"tcp": TCP, "udp": UDP}.get(packet.kind, ICMPV6)
    src, dst = (ip_packet[12:16], ip_packet[16:20]) if v4 else (ip_packet[8:24], ip_packet[24:40])
    return pseudo(src, dst, protocol, len(ip_packet) - at) + ip_packet[at:]


def mended(old: bytes, new: bytes, field: int) -> bytes:
    """Return the checksum with which `new` is as right, or as wrong, as `old` is with its own."""
    rest = bytes(new[:field]) + b"\0\0" + bytes(new[field + 2 :])
    return struct.pack(">H", (checksum(rest) - checksum(old)) % 0xFFFF)
