"""Which backend a connection of the lab's client goes to first: asked of the code that the forwarder runs."""

import ipaddress
import struct

from glbpy._native import DirectorInput, PacketPath, Snapshot
from glbpy.lab.topology import CLIENT4, CLIENT6, DIRECTOR4, PORT, ROUTER_MAC


class FirstHop:
    def __init__(self, snapshot: bytes) -> None:
        """`snapshot` is the file that the director forwarded by."""
        mac = bytes.fromhex(ROUTER_MAC.replace(":", ""))
        director = DirectorInput(ipaddress.IPv4Address(DIRECTOR4), local_mac=bytes(6), gateway_mac=mac)
        self.path = PacketPath(Snapshot(snapshot), director)

    def __call__(self, vip: str, sport: int) -> str | None:
        """The name of the backend that packets from `sport` to `vip` are sent to, None when to none."""
        chain = self.path.decide(syn(vip, sport)).chain
        return chain[0].name if chain else None


def syn(vip: str, sport: int) -> bytes:
    """The frame with which the lab's client begins a connection, checksums left out."""
    tcp = struct.pack("!HHIIBBHHH", sport, PORT, 0, 0, 5 << 4, 2, 65535, 0, 0)
    if ":" in vip:
        ends = ipaddress.IPv6Address(CLIENT6).packed + ipaddress.IPv6Address(vip).packed
        return bytes(12) + struct.pack("!HIHBB", 0x86DD, 6 << 28, len(tcp), 6, 64) + ends + tcp
    ends = ipaddress.IPv4Address(CLIENT4).packed + ipaddress.IPv4Address(vip).packed
    head = struct.pack("!HBBHHHBBH", 0x0800, 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0)
    return bytes(12) + head + ends + tcp
