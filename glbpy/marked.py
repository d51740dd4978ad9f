"""Packets that say of themselves that they are no client's, for ``glb trace --live``.

Each has a source of its own (from the ranges that are reserved for documentation, unless another is asked
for), and its payload is ``MAGIC`` and eight random bytes.
"""

import secrets
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from glbpy.errors import InvalidInputError

Address = IPv4Address | IPv6Address

MAGIC = b"GLBTRACE"
SOURCES: dict[int, Address] = {4: IPv4Address("192.0.2.254"), 6: IPv6Address("2001:db8:ffff::254")}
SOURCE_PORT = 65000
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
SYN, ACK = 0x02, 0x10
HOP_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Marked:
    """What a marked packet is made of. ``protocol`` is tcp, udp or icmp: an echo request."""

    vip: Address
    port: int = 80
    protocol: str = "tcp"
    client: Address | None = None  # None: our own
    client_port: int = SOURCE_PORT
    syn: bool = False  # TCP: the first packet of a connection, else one in mid-stream

    def build(self) -> bytes:
        """Return the IP packet. Raises InvalidInputError when client and VIP are of two families."""
        source = self.client or SOURCES[self.vip.version]
        if source.version != self.vip.version:
            raise InvalidInputError(f"--client {source}: the VIP is an IPv{self.vip.version} address")
        payload = MAGIC + secrets.token_bytes(8)
        ports = struct.pack("!HH", self.client_port, self.port)
        if self.protocol == "tcp":
            acknowledged, flags = (0, SYN) if self.syn else (1, ACK)
            rest = struct.pack("!IIBBHHH", 1, acknowledged, 0x50, flags, 65535, 0, 0)
            return _ip(source, self.vip, TCP, ports + rest + payload, 16)
        if self.protocol == "udp":
            return _ip(source, self.vip, UDP, ports + struct.pack("!HH", 8 + len(payload), 0) + payload, 6)
        echo = struct.pack("!BBHHH", 8 if self.vip.version == 4 else 128, 0, 0, self.client_port, 1)
        return _ip(source, self.vip, ICMP if self.vip.version == 4 else ICMPV6, echo + payload, 2)


def _sum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data)) if len(data) % 2 == 0 else _sum(data + b"\0")
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _ip(source: Address, destination: Address, protocol: int, body: bytes, checksum_at: int) -> bytes:
    """Put an IP header in front of ``body``, whose checksum, zero so far, is at ``checksum_at``."""
    ends = source.packed + destination.packed
    pseudo = b"" if protocol == ICMP else ends + struct.pack("!IxxxB", len(body), protocol)
    checksum = _sum(pseudo + body) or 0xFFFF
    body = body[:checksum_at] + struct.pack("!H", checksum) + body[checksum_at + 2 :]
    if source.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(body), protocol, HOP_LIMIT) + ends + body
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, HOP_LIMIT, protocol, 0) + ends
    return header[:10] + struct.pack("!H", _sum(header)) + header[12:] + body
