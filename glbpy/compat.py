"""GLB's files: forwarding_table.json and director.conf read, the binary table (file format 2) written.

What GLB would misread is refused with the field's path (``tables[0].binds[2].port_start``); unknown keys
are ignored, as GLB does. The same tables compile to a snapshot, for ``glb replay`` and ``glb trace``.
"""

import ipaddress
import itertools
import json
import re
import struct
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from glbpy import _native as native
from glbpy.errors import CompatError, FieldError, InvalidInputError

ROWS = 65536
SLOTS = 256  # backends, and binds, that a table of the binary file has room for
NO_PREFIX: Any = (None, 0)  # stands for a wrong one until all errors are collected
FILE_STATES = {"filling": 0, "active": 1, "draining": 2, "inactive": 2}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Backend:
    address: Address
    state: str
    healthy: bool


@dataclass(frozen=True, slots=True)
class Bind:
    address: Address  # as written: host bits kept
    bits: int
    protocol: str
    port_first: int
    port_last: int


@dataclass(frozen=True, slots=True)
class Table:
    name: str | None
    hash_key: bytes
    seed: bytes
    binds: tuple[Bind, ...]
    backends: tuple[Backend, ...]


@dataclass(frozen=True, slots=True)
class ForwardingTable:
    """GLB's forwarding_table.json. ``source`` is the file, for messages."""

    tables: tuple[Table, ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Director:
    """What we use of GLB's director.conf, and ``local_mac``, the MAC of the sending port."""

    outbound_src_ip: ipaddress.IPv4Address
    outbound_gateway_mac: bytes
    local_mac: bytes
    hash_fields: tuple[str, ...]
    alt_hash_fields: tuple[str, ...]  # () where there are none
    forward_icmp_ping_responses: bool


# ---- read ----


class _Object:
    """An object of a JSON document, read field by field; every wrong field goes to ``errors``."""

    def __init__(self, value: Any, pointer: str, errors: list[FieldError]) -> None:
        self.pointer = pointer
        self.errors = errors
        self.is_object = isinstance(value, dict)
        self.fields: Mapping[str, Any] = value if self.is_object else {}
        if not self.is_object:
            errors.append(FieldError(pointer, "must be an object"))

    def wrong(self, key: str, detail: str) -> None:
        self.errors.append(FieldError(f"{self.pointer}/{key}", detail))

    def get(self, key: str, parse: Callable[[Any], Any]) -> Any:
        """Return the parsed field, or None when it is missing or wrong."""
        if key not in self.fields:
            if self.is_object:
                self.wrong(key, "is missing")
            return None
        try:
            return parse(self.fields[key])
        except ValueError as error:
            self.wrong(key, str(error))
            return None

    def optional(self, key: str, parse: Callable[[Any], Any]) -> Any:
        """As get(); a field that is missing or null is None."""
        return None if self.fields.get(key) is None else self.get(key, parse)

    def each(self, key: str, parse: "Callable[[_Object], Any]") -> tuple[Any, ...]:
        """Return the parsed objects of an array."""
        values = self.get(key, _array) or ()
        places = (f"{self.pointer}/{key}/{i}" for i in itertools.count())
        return tuple(
            parse(_Object(value, place, self.errors)) for value, place in zip(values, places, strict=False)
        )


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("must be an array")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("has half a surrogate pair in it")
    return value


def _one_of(*words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if _text(value) not in words:
            raise ValueError(f"{value!r} is none of {', '.join(words)}")
        return str(value)

    return parse


def _key(value: Any) -> bytes:
    if not re.fullmatch(r"[0-9a-fA-F]{32}", _text(value)):
        raise ValueError("must be 32 hex digits")
    return bytes.fromhex(value)


def _port(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 65535:
        raise ValueError(f"{json.dumps(value)} is not a port, 0 to 65535")
    return value


def _address(value: Any) -> Address:
    try:
        address = ipaddress.ip_address(_text(value))
    except ValueError:
        address = None
    if address is None or "%" in value:
        raise ValueError(f"{value!r} is not an IPv4 or IPv6 address")
    return address


def _prefix(value: Any) -> tuple[Address, int]:
    text, slash, bits = _text(value).partition("/")
    address = _address(text)
    if not slash:
        return address, address.max_prefixlen
    if not re.fullmatch(r"[0-9]{1,3}", bits) or int(bits) > address.max_prefixlen:
        raise ValueError(f"/{bits} is not a prefix length, 0 to {address.max_prefixlen}")
    return address, int(bits)


def _ipv4(value: Any) -> ipaddress.IPv4Address:
    address = _address(value)
    if not isinstance(address, ipaddress.IPv4Address):
        raise ValueError(f"{value!r} is not an IPv4 address")
    return address


def _mac(value: Any) -> bytes:
    """Both forms that DPDK reads: six groups of one or two hex digits, three of four."""
    text = _text(value)
    if re.fullmatch(r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}", text):
        return bytes(int(group, 16) for group in text.split(":"))
    if re.fullmatch(r"[0-9a-fA-F]{4}(:[0-9a-fA-F]{4}){2}", text):
        return bytes.fromhex(text.replace(":", ""))
    raise ValueError(f"{text!r} is not a MAC address like 02:00:00:00:00:01")


def _hash_fields(value: Any) -> tuple[str, ...]:
    """The fields that are true, in the order in which they are hashed; what is not named is off."""
    fields = tuple(name for name in native.HASH_FIELDS if isinstance(value, dict) and value.get(name) is True)
    if not fields:
        raise ValueError(f"must have at least one of {', '.join(native.HASH_FIELDS)} set to true")
    return fields


def _backend(item: _Object) -> Backend:
    address = item.get("ip", _address)
    state = item.get("state", _one_of(*FILE_STATES))
    return Backend(address, state, item.fields.get("healthy") is True)


def _bind(item: _Object) -> Bind:
    address, bits = item.get("ip", _prefix) or NO_PREFIX
    protocol = item.get("proto", _one_of("tcp", "udp"))
    if "port" in item.fields:  # beats a range
        first = last = item.get("port", _port)
    else:
        first, last = item.get("port_start", _port), item.get("port_end", _port)
        if first is not None and last is not None and first > last:
            item.wrong("port_start", f"{first} is above port_end, {last}")
    return Bind(address, bits, protocol, first, last)


def _name(value: Any) -> str | None:
    """Only messages have it, and GLB's own tool does not look: what is no name counts as none."""
    try:
        return _text(value)
    except ValueError:
        return None


def _table(item: _Object) -> Table:
    table = Table(
        name=_name(item.fields.get("name")),
        hash_key=item.get("hash_key", _key),
        seed=item.get("seed", _key),
        binds=item.each("binds", _bind),
        backends=item.each("backends", _backend),
    )
    seen: dict[Address, int] = {}
    for i, backend in enumerate(table.backends):
        if backend.address is not None and seen.setdefault(backend.address, i) != i:
            item.wrong(f"backends/{i}/ip", f"{backend.address} is already backends[{seen[backend.address]}]")
    return table


def parse_table(document: Any, source: str = "") -> ForwardingTable:
    """Return a forwarding table from parsed JSON. Raises CompatError with every wrong field."""
    errors: list[FieldError] = []
    tables = _Object(document, "", errors).each("tables", _table)
    if errors:
        raise CompatError(errors, source)
    return ForwardingTable(tables, source)


def parse_director(document: Any, source: str = "") -> Director:
    """Return a director's settings from parsed JSON. Raises CompatError with every wrong field."""
    errors: list[FieldError] = []
    item = _Object(document, "", errors)
    director = Director(
        outbound_src_ip=item.get("outbound_src_ip", _ipv4),
        outbound_gateway_mac=item.get("outbound_gateway_mac", _mac),
        local_mac=item.get("local_mac", _mac),
        hash_fields=item.optional("hash_fields", _hash_fields) or ("src_addr",),
        alt_hash_fields=item.optional("alt_hash_fields", _hash_fields) or (),
        forward_icmp_ping_responses=item.fields.get("forward_icmp_ping_responses") is not False,
    )
    if errors:
        raise CompatError(errors, source)
    return director


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes(), parse_constant=_no_constant)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: is not JSON: {error}") from error


def load_table(path: Path) -> ForwardingTable:
    """Read GLB's forwarding_table.json. Raises InvalidInputError."""
    return parse_table(_read(path), str(path))


def load_director(path: Path) -> Director:
    """Read GLB's director.conf with local_mac. Raises InvalidInputError."""
    return parse_director(_read(path), str(path))


# ---- write GLB's binary table ----


def check_export(forwarding: ForwardingTable) -> None:
    """Raise CompatError with everything that a GLB director would misread in the binary file."""
    errors = []
    for t, table in enumerate(forwarding.tables):
        serving = sum(backend.state != "inactive" for backend in table.backends)
        if len(table.backends) > SLOTS:
            errors.append((f"{t}/backends", f"{len(table.backends)} backends, the file has room for {SLOTS}"))
        elif serving < 2:
            errors.append((f"{t}/backends", f"{serving} that are not inactive, the file needs at least 2"))
        if len(table.binds) > SLOTS:
            errors.append((f"{t}/binds", f"{len(table.binds)} binds, the file has room for {SLOTS}"))
        errors += [
            (f"{t}/backends/{b}/ip", f"{backend.address} is IPv6, which GLB reads as IPv4")
            for b, backend in enumerate(table.backends)
            if backend.address.version == 6
        ]
    if errors:
        raise CompatError([FieldError(f"/tables/{at}", text) for at, text in errors], forwarding.source)


def _inputs(table: Table, first_id: int = 1) -> tuple[native.BackendInput, ...]:
    return tuple(
        native.BackendInput(
            name=str(backend.address),
            id=first_id + i,
            address=backend.address,
            state=backend.state,
            health="healthy" if backend.healthy else "unhealthy",
        )
        for i, backend in enumerate(table.backends)
    )


def _slot(address: Address) -> bytes:
    return struct.pack("<I16s", 1 if address.version == 4 else 2, address.packed)


def _slots(items: list[bytes], size: int) -> bytes:
    return struct.pack("<I", len(items)) + b"".join(items).ljust(SLOTS * size, b"\0")


def _table_bytes(table: Table) -> bytes:
    backends = [
        _slot(backend.address) + struct.pack("<HH", FILE_STATES[backend.state], backend.healthy)
        for backend in table.backends
    ]
    binds = [
        _slot(b.address)
        + struct.pack("<HHHBB", b.bits, b.port_first, b.port_last, native.PROTOCOLS[b.protocol], 0)
        for b in table.binds
    ]
    rows = native.build_rows(_inputs(table), rows=ROWS, hops=2, policy="glb", seed=table.seed)
    return _slots(backends, 24) + _slots(binds, 28) + table.hash_key + array("I", rows).tobytes()


def build_config(forwarding: ForwardingTable) -> bytes:
    """Return GLB's binary table, byte for byte what GLB's own tool writes. Raises CompatError."""
    check_export(forwarding)
    header = struct.pack("<4s5I", b"GLBD", 2, len(forwarding.tables), ROWS, SLOTS, SLOTS)
    return header + b"".join(map(_table_bytes, forwarding.tables))


# ---- compile a snapshot ----


def _names(forwarding: ForwardingTable) -> list[str]:
    """Return a name for each table: its own, or its place where that is missing, taken or too long."""
    names: list[str] = []
    for t, table in enumerate(forwarding.tables):
        name = table.name or ""
        usable = 0 < len(name.encode()) <= native.NAME_MAX and "\0" not in name
        places = (f"tables[{t}]" + "'" * n for n in itertools.count())
        candidates = itertools.chain([name] if usable else [], places)
        names.append(next(name for name in candidates if name not in names))
    return names


def to_config(forwarding: ForwardingTable, director: Director, policy: str = "glb") -> native.ConfigInput:
    """Return what these files mean: a pool and a service per table, ids from 1 in document order."""
    pools, services = [], []
    first_id = 1
    for t, (table, name) in enumerate(zip(forwarding.tables, _names(forwarding), strict=True)):
        pools.append(native.PoolInput(name, _inputs(table, first_id)))
        first_id += len(table.backends)
        binds = tuple(
            native.BindInput(
                vip=ipaddress.ip_network((bind.address, bind.bits), strict=False),
                protocol=bind.protocol,
                port_first=bind.port_first,
                port_last=bind.port_last,
            )
            for bind in table.binds
        )
        services.append(native.ServiceInput(
            name=name, id=t + 1, pool=t, hash_key=table.hash_key, seed=table.seed, binds=binds, rows=ROWS,
            hops=2, policy=policy, hash_fields=director.hash_fields, alt_hash_fields=director.alt_hash_fields,
        ))  # fmt: skip
    return native.ConfigInput(tuple(pools), tuple(services))


def compile_snapshot(
    forwarding: ForwardingTable, director: Director, policy: str = "glb", oversize: str | None = None
) -> bytes:
    """Return the snapshot that makes a director decide as these files say. Raises CompatError.

    ``oversize`` is what becomes of packets that exceed the MTU; GLB's files do not say.
    """
    try:
        return native.compile_snapshot(to_config(forwarding, director, policy).with_oversize(oversize))
    except InvalidInputError as error:  # pools[t] and services[t] are both tables[t]
        pointer = re.sub(r"^/(pools|services)/", "/tables/", error.pointer)
        detail = re.sub(r"\b(pools|services)(?=\[)", "tables", error.detail)
        raise CompatError([FieldError(pointer, detail)], forwarding.source) from error
