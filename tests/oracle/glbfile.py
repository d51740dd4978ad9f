"""GLB's forwarding_table.json and the binary table, file format 2, that GLB's own tool makes of it."""

import struct
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from itertools import chain as flatten
from typing import Any

from oracle.rows import Backend, chains

ROWS = 65536
SLOTS = 256
STATES = {"filling": 0, "active": 1, "draining": 2, "inactive": 2}
PROTOCOLS = {"tcp": 6, "udp": 17}


def backends_of(table: Mapping[str, Any]) -> list[Backend]:
    """Return a table's backends; only JSON true is healthy."""
    return [
        Backend(item["ip"], item["state"], "healthy" if item.get("healthy") is True else "unhealthy")
        for item in table["backends"]
    ]


def ports_of(bind: Mapping[str, Any]) -> tuple[int, int]:
    """Return first and last port of a bind: `port` beats `port_start` and `port_end`."""
    if "port" in bind:
        return bind["port"], bind["port"]
    return bind["port_start"], bind["port_end"]


def address_slot(text: str) -> bytes:
    address = ip_address(text)
    return struct.pack("<I16s", 1 if address.version == 4 else 2, address.packed)


def backend_slot(item: Mapping[str, Any]) -> bytes:
    return address_slot(item["ip"]) + struct.pack("<HH", STATES[item["state"]], item.get("healthy") is True)


def bind_slot(bind: Mapping[str, Any]) -> bytes:
    text, _, bits = bind["ip"].partition("/")
    length = int(bits) if bits else ip_address(text).max_prefixlen
    return address_slot(text) + struct.pack("<HHHBB", length, *ports_of(bind), PROTOCOLS[bind["proto"]], 0)


def entries(table: Mapping[str, Any]) -> list[list[int]]:
    """Return the 65536 rows of a table as [primary, secondary]."""
    return list(chains(bytes.fromhex(table["seed"]), backends_of(table), ROWS, 2, "glb"))


def slots(items: Sequence[bytes], size: int) -> bytes:
    return struct.pack("<I", len(items)) + b"".join(items).ljust(SLOTS * size, b"\0")


def table_bytes(table: Mapping[str, Any], rows: Sequence[Sequence[int]]) -> bytes:
    return (
        slots([backend_slot(item) for item in table["backends"]], 24)
        + slots([bind_slot(bind) for bind in table["binds"]], 28)
        + bytes.fromhex(table["hash_key"])
        + entries_bytes(rows)
    )


def entries_bytes(rows: Sequence[Sequence[int]]) -> bytes:
    return struct.pack(f"<{2 * len(rows)}I", *flatten.from_iterable(rows))


def file_bytes(config: Mapping[str, Any], rows: Sequence[Sequence[Sequence[int]]]) -> bytes:
    """Return the whole file; `rows` holds entries() of each table."""
    header = b"GLBD" + struct.pack("<5I", 2, len(config["tables"]), ROWS, SLOTS, SLOTS)
    return header + b"".join(table_bytes(t, r) for t, r in zip(config["tables"], rows, strict=True))
