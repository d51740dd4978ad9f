"""Packets through the C packet path, in bursts, with a director's flow cache or without."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from oracle.build import IPV4, ethernet, ipv4, tcp, udp

from glbpy import _native as native

SYN, ACK, FIN = 0x02, 0x10, 0x11
MAC = bytes.fromhex("020000000001")
DIRECTOR = native.DirectorInput(
    outer_source_v4=IPv4Address("10.255.0.1"), local_mac=MAC, gateway_mac=bytes.fromhex("020000000002")
)
BURST = native.lib.GLB_BURST_MAX


@dataclass(frozen=True, slots=True)
class Hop:
    """A hop as the director knows it when it sends the packet."""

    address: str
    unhealthy: bool


class Packets:
    """The frames that a client sends in one connection (or flow): its first, any, and its last."""

    def __init__(self, client: str, port: int, vip: str, vip_port: int, protocol: str) -> None:
        def frame(flags: int) -> Any:
            if protocol == "udp":
                payload = ipv4(client, vip, 17, udp(port, vip_port))
            else:
                payload = ipv4(client, vip, 6, tcp(port, vip_port, flags=flags))
            return native.ffi.from_buffer("uint8_t[]", ethernet(payload, IPV4))

        self.opens, self.goes_on, self.ends = frame(SYN), frame(ACK), frame(FIN)


class FlowCache:
    """One worker's flow cache. It survives snapshots."""

    def __init__(self, entries: int) -> None:
        self.stats = native.ffi.new("struct glb_flow_stats *")
        size = native.lib.glb_flow_cache_bytes(entries)
        self._memory = native.ffi.new("uint64_t[]", size // 8 + 16)  # to be aligned
        address = int(native.ffi.cast("uintptr_t", self._memory))
        aligned = native.ffi.cast("void *", (address + 127) // 128 * 128)
        self.c = native.ffi.new("struct glb_flow_cache *")
        timeouts = native.ffi.new("struct glb_flow_timeouts *", native.lib.glb_flow_timeouts_default())
        native.lib.glb_flow_cache_init(self.c, aligned, entries, bytes(range(16)), timeouts, self.stats)


class Path:
    """A snapshot in a director."""

    def __init__(self, data: bytes) -> None:
        snapshot = native.Snapshot(data)
        self._path = native.PacketPath(snapshot, DIRECTOR)
        self._slots = native.ffi.new("uint32_t[]", native.lib.glb_backend_ids_slots(snapshot.c))
        self._ids = native.ffi.new("struct glb_backend_ids *")
        native.lib.glb_backend_ids_init(self._ids, snapshot.c, self._slots)
        self._path._c.backend_ids = self._ids
        self._hops = [Hop(str(b.address), b.health == "unhealthy") for b in snapshot.backends]
        self._packets = native.ffi.new(f"struct glb_packet[{BURST}]")
        self.encapsulations = {service.name: service.encapsulation for service in snapshot.services}
        self.second_chance = {
            service.name
            for service in snapshot.services
            if service.encapsulation == "gue"
            and (snapshot.tables[service.table].hops > 1 or service.alt_hash_fields)
        }
        self._empty = bytes(native.ffi.sizeof(self._packets))

    def chains(
        self, frames: Sequence[Any], cache: FlowCache | None = None, now_s: int = 0
    ) -> list[tuple[Hop, ...]]:
        """Return the chain that each frame gets; () where it is not forwarded."""
        found = []
        for start in range(0, len(frames), BURST):
            burst = frames[start : start + BURST]
            native.ffi.buffer(self._packets)[:] = self._empty
            for packet, frame in zip(self._packets, burst, strict=False):
                packet.data = frame
                packet.data_len = packet.frame_len = len(frame)
            native.lib.glb_path_burst_cached(
                self._path._c, cache.c if cache else native.ffi.NULL, now_s, self._packets, len(burst)
            )
            for packet, _ in zip(self._packets, burst, strict=False):
                forwarded = packet.verdict == native.lib.GLB_VERDICT_FORWARD
                chain = packet.chain[0 : packet.chain_len] if forwarded else ()
                found.append(tuple(self._hops[hop] for hop in chain))
        return found
