"""How long single packets take through a forwarder, by the kernel's timestamps on their way in and out."""

import random
import socket
import struct
import time

from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import VIP, Segment

SO_TIMESTAMPNS = 35


class Tap:
    """Sees what passes far0, both ways, with the kernel's times."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.bind(("far0", 0))
        self.socket.settimeout(5)

    def next_ns(self) -> int:
        _, ancillary, _, _ = self.socket.recvmsg(2048, 128)
        seconds, ns = struct.unpack("qq", ancillary[0][2])
        return int(seconds * 1_000_000_000 + ns)


def first_packets_us(segment: Segment, packets: int) -> list[float]:
    """Send ``packets``, each after a pause of 0.1 to 0.15 s; return the time of each in µs."""
    with segment.namespace.entered():
        tap = Tap()
    found = []
    for n in range(packets):
        time.sleep(random.uniform(0.1, 0.15))
        segment.wire.send([ethernet(ipv4("192.0.2.77", VIP, 6, tcp(1024 + n, 80)), IPV4, dst=segment.mac)])
        sent = tap.next_ns()
        found.append((tap.next_ns() - sent) / 1000)
    tap.socket.close()
    return found
