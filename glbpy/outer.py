"""The outer headers of a frame that a director sends, in words: for people who read a trace."""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

TAGS = (b"\x81\x00", b"\x88\xa8")  # Ethernet types of VLAN tags
PROTOCOLS = {1: "ICMP", 4: "IPv4", 6: "TCP", 17: "UDP", 41: "IPv6", 47: "GRE", 58: "ICMPv6"}
TCP, UDP = 6, 17
GRE_KEY = 0x2000
TOO_BIG = ((1, b"\x03\x04"), (58, b"\x02\x00"))  # protocol, type and code


@dataclass(frozen=True, slots=True)
class Outer:
    """The first IP header behind Ethernet, and what follows it."""

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    tos: int
    protocol: int
    payload: bytes


def parse(frame: bytes) -> Outer:
    """Take a frame apart that a director made, which is whole at least to its transport header."""
    at = 14
    while frame[at - 2 : at] in TAGS:
        at += 4
    packet = frame[at:]
    if packet[0] >> 4 == 4:
        ends, tos, protocol, rest = packet[12:20], packet[1], packet[9], packet[4 * (packet[0] & 15) :]
    else:
        (word,) = struct.unpack_from(">I", packet)
        ends, tos, protocol, rest = packet[8:40], word >> 20 & 0xFF, packet[6], packet[40:]
    half = len(ends) // 2
    return Outer(ip_address(ends[:half]), ip_address(ends[half:]), tos, protocol, rest)


def describe(frame: bytes, encapsulation: str | None) -> str:
    """Describe a frame to send; ``encapsulation`` is the service's, None for a reply of the director's."""
    outer = parse(frame)
    text = f"{len(frame)} bytes to {frame[:6].hex(':')}; "
    if encapsulation == "gue":
        text += _gue(outer)
    elif outer.protocol in (TCP, UDP):
        source_port, port = struct.unpack_from(">HH", outer.payload)
        text += f"{outer.source} port {source_port} → {outer.destination} port {port}"
        text += f", {PROTOCOLS[outer.protocol]}"
    else:
        text += f"{outer.source} → {outer.destination}, {_carried(outer)}"
    return text + _tos(outer.tos)


def _gue(outer: Outer) -> str:
    source_port, port, _, checksum = struct.unpack_from(">HHHH", outer.payload)
    udp, further = f"UDP checksum {checksum:04x}" if checksum else "no UDP checksum", outer.payload[15]
    return (
        f"{outer.source} port {source_port} → {outer.destination} port {port}, {udp}, "
        f"{further} further hop{'s' * (further != 1)}"
    )


def _carried(outer: Outer) -> str:
    name = PROTOCOLS.get(outer.protocol, f"protocol {outer.protocol}")
    if (outer.protocol, outer.payload[:2]) in TOO_BIG:
        return f"{name}, too big: MTU {int.from_bytes(outer.payload[4:8])}"
    if name != "GRE":
        return name
    flags, kind = struct.unpack_from(">HH", outer.payload)
    inner = {0x0800: "IPv4", 0x86DD: "IPv6"}.get(kind, f"type {kind:04x}")
    key = f" with key {int.from_bytes(outer.payload[4:8])}" if flags & GRE_KEY else ""
    return f"GRE{key}, {inner}"


def _tos(tos: int) -> str:
    dscp = f", DSCP {tos >> 2}" if tos >> 2 else ""
    return dscp + (f", ECN {tos & 3}" if tos & 3 else "")
