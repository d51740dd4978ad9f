"""What a director with `strict = true` drops of packets for a service: what no honest sender sends."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from oracle.parse import Packet, Rejected, be16
from oracle.reject import transport_at

MARTIANS = [
    ip_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/64", "ff00::/8")
]
FIN, SYN, RST, ACK = 1, 2, 4, 16


def check(packet: Packet) -> None:
    """Raise Rejected with the reason."""
    v4 = packet.inner[0] >> 4 == 4
    source, target = (
        ip_address(packet.inner[at : at + size])
        for at, size in (((12, 4), (16, 4)) if v4 else ((8, 16), (24, 16)))
    )
    if any(source in martian for martian in MARTIANS):
        raise Rejected("source_martian")
    if source == target:
        raise Rejected("source_is_vip")
    if packet.kind not in ("tcp", "udp"):
        return
    if packet.sport == 0 or packet.dport == 0:
        raise Rejected("port_zero")
    segment = packet.inner[transport_at(packet) :]
    whole = be16(packet.inner, 6) & 0x3FFF == 0 if v4 else transport_at(packet) == 40
    if packet.kind == "tcp":
        tcp(segment, whole)
    elif be16(segment, 4) < 8 or (whole and be16(segment, 4) > len(segment)):
        raise Rejected("udp_bad_length")


def tcp(segment: bytes, whole: bool) -> None:
    flags = segment[13]
    if sum(bool(flags & bit) for bit in (SYN, FIN, RST)) > 1 or not flags & (SYN | RST | ACK):
        raise Rejected("tcp_bad_flags")
    size = 4 * (segment[12] >> 4)
    if size < 20 or (whole and size > len(segment)):
        raise Rejected("tcp_bad_header")
    options = segment[20:size]
    left = size - 20
    while options and options[0] != 0:
        if options[0] == 1:
            options, left = options[1:], left - 1
            continue
        if left < 2:
            raise Rejected("tcp_bad_header")
        if len(options) < 2:
            return  # of a fragment, which ends here
        if not 2 <= options[1] <= left:
            raise Rejected("tcp_bad_header")
        left -= options[1]
        options = options[options[1] :]
