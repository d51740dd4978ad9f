"""From a frame to the flow that it belongs to, or the reason why it goes no further.

Order of judgement: Ethernet and VLAN tags, IP header and lengths, extension headers, then the
transport header. A frame is malformed whatever its destination; only what parses is classified.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION = 0, 43, 44, 51, 60
HEADER_BYTES = {TCP: 20, UDP: 8, ICMP: 8, ICMPV6: 8}
VLAN_TYPES = (0x8100, 0x88A8)
EXTENSIONS_MAX, TAGS_MAX = 8, 2

Address = IPv4Address | IPv6Address


class Rejected(Exception):
    """The frame goes no further; the message is the reason's name."""


@dataclass(frozen=True)
class Packet:
    """What a frame says. The flow is as the client sends it: for too-big reversed from the quote."""

    kind: str  # tcp | udp | echo | too_big | error | error_not_ours | icmp | fragment | other
    inner: bytes  # the client's IP packet, padding cut off
    vip: Address  # destination of the packet itself
    src: Address
    dst: Address
    protocol: int = 0
    sport: int = 0
    dport: int = 0
    hint: int = 0
    extended: bool = False  # IPv6 extension headers other than a fragment header


@dataclass(frozen=True)
class Header:
    """An IP header with its extension headers: where the payload starts and what it is."""

    src: Address
    dst: Address
    protocol: int
    payload: int  # offset
    later_fragment: bool
    extended: bool
    varies: int  # IPv4 identification, or the low 16 bits of the IPv6 flow label


def be16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def parse(frame: bytes) -> Packet:
    """Return the packet in an Ethernet frame, or raise Rejected."""
    if len(frame) < 14:
        raise Rejected("eth_truncated")
    at, tags = 14, 0
    while be16(frame, at - 2) in VLAN_TYPES and tags < TAGS_MAX:
        at, tags = at + 4, tags + 1
        if len(frame) < at:
            raise Rejected("eth_truncated")
    match be16(frame, at - 2):
        case 0x0800:
            inner, header = ipv4(frame[at:])
        case 0x86DD:
            inner, header = ipv6(frame[at:])
        case _:
            raise Rejected("not_ip")
    return transport(inner, header)


def ipv4(data: bytes) -> tuple[bytes, Header]:
    if len(data) < 20:
        raise Rejected("ipv4_truncated")
    if data[0] >> 4 != 4:
        raise Rejected("ipv4_bad_version")
    header = ipv4_header(data)
    if header is None:
        raise Rejected("ipv4_truncated")
    total = be16(data, 2)
    if total > len(data) or total < header.payload:
        raise Rejected("ipv4_bad_length")
    return data[:total], header


def ipv4_header(data: bytes) -> Header | None:
    """Return the header of at least 20 bytes at `data`, or None when IHL is too small or beyond them."""
    size = 4 * (data[0] & 15)
    if size < 20 or size > len(data):
        return None
    offset = be16(data, 6) & 0x1FFF
    varies = be16(data, 4)
    return Header(ip_address(data[12:16]), ip_address(data[16:20]), data[9], size, offset != 0, False, varies)


def ipv6(data: bytes) -> tuple[bytes, Header]:
    if len(data) < 40:
        raise Rejected("ipv6_truncated")
    if data[0] >> 4 != 6:
        raise Rejected("ipv6_bad_version")
    total = 40 + be16(data, 4)
    if total > len(data):
        raise Rejected("ipv6_bad_length")
    header = ipv6_header(data[:total])
    if header is None:
        raise Rejected("ipv6_bad_extension")
    return data[:total], header


def ipv6_header(data: bytes) -> Header | None:
    """Return the header of at least 40 bytes at `data`, or None: an extension header is cut, or too many."""
    kind, at, extensions = data[6], 40, 0
    later = extended = False
    while kind in (HOP_BY_HOP, ROUTING, DESTINATION, AH, FRAGMENT) and not later:
        extensions += 1
        if extensions > EXTENSIONS_MAX or at + 8 > len(data):
            return None
        size = 8 if kind == FRAGMENT else 4 * (data[at + 1] + 2) if kind == AH else 8 * (data[at + 1] + 1)
        later = kind == FRAGMENT and be16(data, at + 2) >> 3 != 0
        extended = extended or kind != FRAGMENT
        kind, at = data[at], at + size
        if at > len(data):
            return None
    return Header(ip_address(data[8:24]), ip_address(data[24:40]), kind, at, later, extended, be16(data, 2))


def transport(inner: bytes, header: Header) -> Packet:
    protocol, extended = header.protocol, header.extended
    packet = Packet("other", inner, header.dst, header.src, header.dst, protocol, extended=extended)
    if header.later_fragment:
        return replace(packet, kind="fragment")
    icmp = ICMP if header.src.version == 4 else ICMPV6
    if header.protocol not in (TCP, UDP, icmp):
        return packet
    data = inner[header.payload :]
    if len(data) < HEADER_BYTES[header.protocol]:
        raise Rejected("l4_truncated")
    if header.protocol != icmp:
        kind = "tcp" if header.protocol == TCP else "udp"
        sport = be16(data, 0)
        return replace(packet, kind=kind, sport=sport, dport=be16(data, 2), hint=sport)
    match (header.src.version, data[0], data[1]):
        case (4, 8, 0) | (6, 128, 0):
            return replace(packet, kind="echo", hint=header.varies)
        case (4, 3, 4) | (6, 2, 0):
            return quoting(packet, "too_big", data[8:])
        case (4, 3, _) | (4, 11, _) | (6, 1, _) | (6, 3, _):
            try:
                return quoting(packet, "error", data[8:])
            except Rejected:  # it quotes too little
                return replace(packet, kind="error_not_ours")
    return replace(packet, kind="icmp")


def quoting(packet: Packet, kind: str, quote: bytes) -> Packet:
    """Return the packet with the flow of the packet quoted, reversed: as the client sends it."""
    version = packet.vip.version
    if len(quote) < (20 if version == 4 else 40):
        raise Rejected("icmp_quote_truncated")
    if quote[0] >> 4 != version or (version == 4 and quote[0] & 15 < 5):
        return replace(packet, kind="error_not_ours")
    header = ipv4_header(quote) if version == 4 else ipv6_header(quote)
    if header is None:
        raise Rejected("icmp_quote_truncated")
    if header.later_fragment or header.protocol not in (TCP, UDP):
        return replace(packet, kind="error_not_ours")
    ports = quote[header.payload : header.payload + 4]
    if len(ports) < 4:
        raise Rejected("icmp_quote_truncated")
    client_port = be16(ports, 2)
    return replace(
        packet,
        kind=kind,
        src=header.dst,
        dst=header.src,
        protocol=header.protocol,
        sport=client_port,
        dport=be16(ports, 0),
        hint=client_port,
    )
