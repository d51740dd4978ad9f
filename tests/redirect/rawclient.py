"""A TCP client made of single packets, so that tests decide each sequence number and what is lost."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import packets as p
from .netns import Namespace

ETH_P_ALL = 3


class Wire:
    """Whole frames on one device of a namespace."""

    def __init__(self, namespace: Namespace, device: str) -> None:
        with namespace.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.bind((device, ETH_P_ALL))

    def send(self, frame: bytes) -> None:
        self.socket.send(frame)

    def expect(self, fits: Callable[[p.Segment], bool], timeout: float = 3.0) -> p.Segment:
        """The next TCP segment received here that fits; raises TimeoutError (seconds)."""
        until = time.monotonic() + timeout
        while True:
            self.socket.settimeout(max(until - time.monotonic(), 0.001))
            frame, origin = self.socket.recvfrom(65536)
            if origin[2] == socket.PACKET_OUTGOING or frame[12:14] not in (b"\x08\x00", b"\x86\xdd"):
                continue
            segment = p.Segment(frame)
            if segment.protocol == 6 and fits(segment):
                return segment

    def close(self) -> None:
        self.socket.close()


@dataclass
class Flow:
    """One connection of the raw client's; `seq` and `ack` are what its next segment carries."""

    wire: Wire
    mac: bytes
    client: str
    vip: str
    sport: int
    dport: int
    seq: int = 1_000_000
    ack: int = 0

    def packet(
        self, flags: int, *, seq: int | None = None, ack: int | None = None, data: bytes = b"",
        options: bytes = b"",
    ) -> bytes:  # fmt: skip
        return p.tcp(
            self.client, self.sport, self.vip, self.dport, flags, data=data, options=options,
            seq=self.seq if seq is None else seq, ack=self.ack if ack is None else ack,
        )  # fmt: skip

    def send(self, flags: int, data: bytes = b"") -> None:
        self.wire.send(p.ethernet(self.packet(flags, data=data), dst=self.mac))
        self.seq += len(data) + bool(flags & p.SYN) + bool(flags & p.FIN)

    def expect(self, flags: int) -> p.Segment:
        """Waits for a segment of this connection with exactly these flags; acknowledges SYN and FIN."""
        segment = self.wire.expect(
            lambda s: (s.src, s.sport, s.dport) == (self.vip, self.dport, self.sport) and s.flags == flags
        )
        self.ack = segment.seq + bool(flags & (p.SYN | p.FIN))
        return segment

    def half_open(self) -> None:
        self.send(p.SYN)
        self.expect(p.SYN | p.ACK)

    def open(self) -> None:
        self.half_open()
        self.send(p.ACK)
