"""How long single packets take through a forwarder, by the kernel's timestamps on their way in and out."""

import random
import socket
import struct
import time
from collections.abc import Callable

from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import VIP, Segment

SO_TIMESTAMPNS = 35
TIMEOUT_S = 5
PAUSE_S = (0.1, 0.15)


class Tap:
    """Sees what passes far0, both ways, with the kernel's times."""

    def __init__(self, segment: Segment) -> None:
        with segment.namespace.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.bind(("far0", 0))
        self.socket.settimeout(TIMEOUT_S)

    def time_of(self, wanted: Callable[[bytes], bool]) -> int:
        """Return when the next such frame passed, in ns. Others are passed over. Raises TimeoutError."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            frame, ancillary, _, _ = self.socket.recvmsg(2048, 128)
            if wanted(frame):
                seconds, ns = struct.unpack("qq", ancillary[0][2])
                return int(seconds * 1_000_000_000 + ns)
        raise TimeoutError(f"no such frame in {TIMEOUT_S} s")

    def __enter__(self) -> "Tap":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def first_packets_us(
    segment: Segment, packets: int, meanwhile: Callable[[], int] = lambda: 0
) -> list[tuple[float, int]]:
    """Send ``packets``, each after a pause of 0.1 to 0.15 s.

    Return the time of each in µs, and by how much ``meanwhile`` has grown.
    """
    found = []
    with Tap(segment) as tap:
        for n in range(packets):
            packet = ipv4("192.0.2.77", VIP, 6, tcp(1024 + n, 80, struct.pack("!I", n)))
            frame = ethernet(packet, IPV4, dst=segment.mac)
            time.sleep(random.uniform(*PAUSE_S))
            before = meanwhile()
            segment.wire.send([frame])
            sent = tap.time_of(frame.__eq__)
            out = tap.time_of(lambda seen, inner=packet: len(seen) > len(inner) + 14 and seen.endswith(inner))
            found.append(((out - sent) / 1000, meanwhile() - before))
    return found
