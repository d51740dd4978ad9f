"""A health check through the tunnel: a TCP handshake with a VIP, begun in GUE as a director sends it.

The SYN goes to the backend's GUE port, wrapped as clients' packets are, the backend being its only hop. So
what is checked is glb-redirect, its allow-list, the VIP on the backend, the listener, and the way back: the
answer comes straight to this machine, which listens on a raw socket (CAP_NET_RAW), and ends the handshake by
a reset in GUE. This machine's kernel knows nothing of it, and may answer with a reset too: that does no harm.
"""

import asyncio
import ctypes
import random
import socket
import struct
from collections.abc import Coroutine, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glbpy.models import Pool, Service

GUE_PORT = 19523
SYN, RST, ACK = 0x02, 0x04, 0x10
MSS = bytes((2, 4, 1460 >> 8, 1460 & 255))  # TCP option
SO_ATTACH_FILTER = 26
ANSWER_MAX = 2048  # bytes; a SYN/ACK is far shorter
HOP_LIMIT = 1  # a backend without the VIP that forwards packets must not send it round to another one


class UnansweredError(Exception):
    """The handshake did not come about; the message says what happened, in place of "answered"."""


@dataclass(frozen=True, order=True)
class Endpoint:
    """A VIP's address and a port that a backend must answer on."""

    vip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.vip}]:{self.port}" if ":" in self.vip else f"{self.vip}:{self.port}"


def endpoints(pool: "Pool", services: Iterable["Service"]) -> tuple[Endpoint, ...]:
    """Return what backends of ``pool`` must answer through the tunnel: each VIP, on one port of its service.

    That is the health check's port where the service has it. Only what is TCP in GUE can be asked.
    """
    if pool.health_check is None or pool.health_check.via != "tunnel":
        return ()
    found = {
        Endpoint(_address(vip), _port(service, pool.health_check.port))
        for service in services
        if service.pool == pool.name and service.encapsulation == "gue" and service.protocol != "udp"
        for vip in service.vips
    }
    return tuple(sorted(found))


def _address(vip: str) -> str:
    """The VIP, or of a prefix one of its addresses."""
    network = ip_network(vip)
    return str(network[1] if network.num_addresses > 2 else network[0])


def _port(service: "Service", wanted: int) -> int:
    from glbpy.models import parse_range

    ranges = [(0, 65535) if port == "any" else parse_range(port) for port in service.ports]
    return wanted if any(first <= wanted <= last for first, last in ranges) else max(ranges[0][0], 1)


async def handshake(backend: str, wanted: Endpoint) -> bool:
    """Begin a connection through the tunnel, and end it once it is answered.

    False: this machine has no address of the VIP's family to ask from. No time limit of its own. Raises
    UnansweredError, OSError.
    """
    with ExitStack() as stack:
        tunnel = stack.enter_context(_socket(backend, socket.SOCK_DGRAM))
        tunnel.connect((backend, GUE_PORT))
        source = _source(wanted.vip, tunnel.getsockname()[0])
        if source is None:
            return False
        # Nobody else of this machine uses the port meanwhile.
        reserved = stack.enter_context(_socket(wanted.vip, socket.SOCK_STREAM))
        reserved.bind((source, 0))
        port = int(reserved.getsockname()[1])
        answers = stack.enter_context(_listen(wanted.vip, port))
        isn = random.getrandbits(32)
        segment = Segment(source, port, wanted.vip, wanted.port)
        tunnel.send(wrap(segment.packet(SYN, isn, 0, MSS), backend))
        number = await _first(_answer(answers, segment, isn), _refused(tunnel))
        tunnel.send(wrap(segment.packet(RST | ACK, isn + 1, number + 1), backend))
    return True


async def _first(answer: Coroutine[None, None, int], refusal: Coroutine[None, None, int]) -> int:
    """Return the answer, unless the refusal comes first, which raises."""
    tasks = [asyncio.ensure_future(each) for each in (answer, refusal)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return int(next(iter(done)).result())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(answers: socket.socket, segment: "Segment", isn: int) -> int:
    """Wait for the SYN/ACK; return its sequence number."""
    loop = asyncio.get_running_loop()
    while True:
        data, ends = await loop.sock_recvfrom(answers, ANSWER_MAX)
        if ip_address(ends[0]) != ip_address(segment.vip):
            continue
        tcp = data if ":" in segment.vip else data[4 * (data[0] & 15) :]
        if len(tcp) < 20:
            continue
        sport, dport, number, acked, _, flags = struct.unpack_from(">HHIIBB", tcp)
        if (sport, dport, acked) != (segment.vip_port, segment.port, (isn + 1) & 0xFFFFFFFF):
            continue
        if flags & RST:
            raise UnansweredError("was refused: nothing listens there")
        if flags & (SYN | ACK) == SYN | ACK:
            return int(number)


async def _refused(tunnel: socket.socket) -> int:
    """Wait until the backend's kernel says that nothing takes GUE there."""
    try:
        while True:
            await asyncio.get_running_loop().sock_recv(tunnel, 1)
    except ConnectionRefusedError:
        raise UnansweredError("was refused: nothing takes GUE there; is glb-redirect attached?") from None


def _socket(address: str, kind: int, protocol: int = 0) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind, protocol)
    made.setblocking(False)
    return made


def _source(vip: str, to_backend: str) -> str | None:
    """The address that this machine would talk to the VIP from; it need not have a way there."""
    with _socket(vip, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect((vip, GUE_PORT))
            source = str(asked.getsockname()[0])
        except OSError:
            source = vip
    if source != vip:  # else it has none, or is a host of the VIP itself
        return source
    return to_backend if (":" in to_backend) == (":" in vip) else None


def _listen(vip: str, port: int) -> socket.socket:
    """A raw socket that gets TCP segments to ``port``, and no others."""
    # The port is at 2 in the TCP header. IPv6 packets begin with that; of IPv4 the length goes to X first.
    code = [(0x28, 0, 0, 2)] if ":" in vip else [(0xB1, 0, 0, 0), (0x48, 0, 0, 2)]
    code += [(0x15, 0, 1, port), (0x06, 0, 0, ANSWER_MAX), (0x06, 0, 0, 0)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))
    made = _socket(vip, socket.SOCK_RAW, socket.IPPROTO_TCP)
    try:
        whole = struct.pack("HL", len(code), ctypes.addressof(program))
        made.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, whole)
    except OSError:
        made.close()
        raise
    return made


@dataclass(frozen=True)
class Segment:
    """The ends of a connection, and its packets from this one."""

    source: str
    port: int
    vip: str
    vip_port: int

    def packet(self, flags: int, number: int, acked: int, options: bytes = b"") -> bytes:
        """A whole IP packet without data."""
        ends = ip_address(self.source).packed + ip_address(self.vip).packed
        length = 20 + len(options)
        words = (self.port, self.vip_port, number & 0xFFFFFFFF, acked & 0xFFFFFFFF)
        tcp = bytearray(struct.pack(">HHIIBBHHH", *words, length << 2, flags, 65535, 0, 0) + options)
        tcp[16:18] = checksum(ends + struct.pack(">II", socket.IPPROTO_TCP, length) + tcp)
        if ":" in self.vip:
            return struct.pack(">IHBB", 6 << 28, length, socket.IPPROTO_TCP, HOP_LIMIT) + ends + tcp
        head = bytearray(struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, HOP_LIMIT, 6, 0) + ends)
        head[10:12] = checksum(head)
        return bytes(head + tcp)


def wrap(packet: bytes, backend: str) -> bytes:
    """GUE around a client's packet, as docs/wire/gue.md has it, for a chain of this backend alone."""
    protocol = socket.IPPROTO_IPV6 if packet[0] >> 4 == 6 else socket.IPPROTO_IPIP
    private_type = 1 if ":" in backend else 0
    return struct.pack(">BBHHBB", 1, protocol, 0, private_type, 0, 0) + packet


def checksum(data: bytes | bytearray) -> bytes:
    """The Internet checksum of an even number of bytes."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~total & 0xFFFF)
