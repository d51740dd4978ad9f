"""What is measured of the packet path: snapshots and packets of each case, made once and kept in a folder."""

import argparse
import ipaddress
import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glbpy import _native as native

SYN, ACK = 0x02, 0x10
FOUR_TUPLE = ("src_addr", "dst_addr", "src_port", "dst_port")
TABLE_1M = 1 << 20


@dataclass(frozen=True)
class Case:
    """One line of the table. ``target`` is in ns, where ``above`` names a case above that one's result."""

    name: str
    target: float
    above: str = ""
    flows: int = 100_000
    first: int = 0  # number of the first flow
    services: int = 10
    tables: int = 10
    backends: int = 10  # of each table's pool
    rows: int = native.ROWS_DEFAULT
    family: int = 4
    flags: int = ACK
    service: dict[str, Any] = field(default_factory=dict)
    entries: int = 0  # of the flow cache; 0: no service has one
    hit: float | None = None  # flow cache: 1: (nearly) every packet hits, 0: none does

    @property
    def options(self) -> dict[str, Any]:
        """Fields of the services."""
        return {"hash_fields": ("src_addr",)} | ({"flow_cache": True} if self.entries else {}) | self.service


GUE = "gue-v4-100k"
# Flows of a service with a second chance are remembered from their SYN on. In cases of hits no packet is a
# SYN: the flows become known under a snapshot of one hop, before the one that is measured is loaded. A fourth
# of a table holds new flows: 1,000,000 that come in turn need one of four times as many to get into it.
CASES = (
    Case("gue-v4-1k", 10, flows=1000),
    Case(GUE, 8),
    Case("gue-v4-1m", 18, flows=1_000_000),
    Case("gue-v6-100k", 14, family=6),
    Case("hash4-100k", 11, service={"hash_fields": FOUR_TUPLE}),
    Case("hops4-100k", 13, service={"hops": 4}),
    Case("cache-hit-100k", 15, entries=TABLE_1M, hit=1),
    Case("cache-hit-1m", 30, flows=1_000_000, entries=4 * TABLE_1M, hit=1),
    Case("cache-new-1m", 38, flows=2_500_000, flags=SYN, entries=TABLE_1M, hit=0),
    Case("services-10k", 4, above=GUE, services=10_000, tables=100),
    Case("backends-1k", 15, backends=1000),
    Case("gre-100k", 1, above=GUE, service={"encapsulation": "gre", "hops": 1}),
    Case("ipip-100k", 1, above=GUE, service={"encapsulation": "ipip", "hops": 1}),
    Case("l3dsr-100k", 1, above=GUE, service={"encapsulation": "l3dsr", "hops": 1, "dscp": 10}),
    Case("nat-100k", 5, above=GUE, service={"encapsulation": "nat", "hops": 1}),
)


def choose(
    parser: argparse.ArgumentParser, names: Iterable[str], among: Sequence[Case] = CASES
) -> list[Case]:
    """Return the cases of these names. Ends the program with exit code 2 when there is none of a name."""
    if unknown := set(names) - {case.name for case in among}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return [case for case in among if case.name in names]


def vip(number: int, family: int) -> Any:
    """The VIP of a service; 10,000 of them fit."""
    return ipaddress.ip_address("203.0.0.0" if family == 4 else "2001:db8:203::") + number


def config(case: Case, **options: Any) -> native.ConfigInput:
    """The configuration of a case; ``options`` are fields of its services, over its own."""
    start = ipaddress.ip_address("10.0.0.1")
    pools = tuple(
        native.PoolInput(
            f"pool{p}",
            tuple(
                native.BackendInput(f"b{b}", 1 + p * case.backends + b, start + p * case.backends + b)
                for b in range(case.backends)
            ),
        )
        for p in range(case.tables)
    )
    services = tuple(
        native.ServiceInput(
            name=f"www{n}", id=n + 1, pool=n % case.tables, rows=case.rows,
            hash_key=bytes(16), seed=bytes([n % case.tables] * 16),
            binds=(native.BindInput(ipaddress.ip_network(vip(n, case.family)), "tcp", 80, 80),),
            **case.options | options,
        )
        for n in range(case.services)
    )  # fmt: skip
    return native.ConfigInput(pools, services, 1)


def _template(case: Case) -> bytes:
    """A frame, 64 bytes (v6: 78), with zeros for addresses, source port and the IPv4 header's checksum."""
    macs = bytes.fromhex("020000000001") + bytes.fromhex("0200000000aa")
    tcp = struct.pack(">HHIIBBHHH", 0, 80, 1, 0, 5 << 4, case.flags, 8192, 0, 0)
    if case.family == 4:
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + bytes(8)
        return (macs + b"\x08\x00" + ip + tcp).ljust(64, b"\0")
    return macs + b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, len(tcp), 6, 64) + bytes(32) + tcp


def write_packets(path: Path, case: Case) -> None:
    """Write a capture with one packet of each flow, in random order; flows are spread over the services."""
    order = list(range(case.first, case.first + case.flows))
    random.Random(1).shuffle(order)
    frame = _template(case)
    record = struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for first in range(0, len(order), 100_000):
            part = order[first : first + 100_000]
            block = bytearray(record * len(part))
            (_fill_v4 if case.family == 4 else _fill_v6)(block, len(record), part, case)
            out.write(block)


def _fill_v4(block: bytearray, size: int, flows: list[int], case: Case) -> None:
    server_0, client_0, services = int(vip(0, 4)), int(ipaddress.ip_address("100.64.0.1")), case.services
    pack, at = struct.Struct(">HIIH").pack_into, 16 + 14 + 10
    fixed = sum(struct.unpack_from(">6H", _template(case), 14))  # of the header: up to the addresses
    for n in flows:
        client, server = client_0 + n, server_0 + n % services
        total = fixed + (client >> 16) + (client & 0xFFFF) + (server >> 16) + (server & 0xFFFF)
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        pack(block, at, ~total & 0xFFFF, client, server, 1024 + n % 60000)
        at += size


def _fill_v6(block: bytearray, size: int, flows: list[int], case: Case) -> None:
    mask = (1 << 64) - 1
    client, server, services = int(ipaddress.ip_address("2001:db8:1::1")), int(vip(0, 6)), case.services
    pack, at = struct.Struct(">QQQQH").pack_into, 16 + 14 + 8
    for n in flows:
        pack(block, at, client >> 64, (client & mask) + n, server >> 64, (server & mask) + n % services,
             1024 + n % 60000)  # fmt: skip
        at += size


class Stock:
    """A folder with the files of cases, each made when it is first asked for; cases share what is equal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: dict[Any, str] = {}

    def _file(self, key: Any, suffix: str) -> tuple[Path, bool]:
        fresh = repr(key) not in self._names
        name = self._names.setdefault(repr(key), f"{len(self._names)}{suffix}")
        return self.folder / name, fresh

    def snapshot(self, case: Case, **options: Any) -> Path:
        shape = (case.services, case.tables, case.backends, case.rows, case.family)
        path, fresh = self._file((shape, sorted((case.options | options).items())), ".glb")
        if fresh:
            path.write_bytes(native.compile_snapshot(config(case, **options)))
        return path

    def packets(self, case: Case) -> Path:
        path, fresh = self._file((case.first, case.flows, case.services, case.family, case.flags), ".pcap")
        if fresh:
            write_packets(path, case)
        return path
