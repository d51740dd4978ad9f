"""The only importer of the C extension: compile and read snapshots, build rows, compare, trace, name reasons.

Input is plain dataclasses in which positions count; ``state``, ``health``, ``policy`` and so on are the words
of the configuration. Every C error leaves here as a :class:`~glbpy.errors.GlbError`. Nothing in here does
input or output.
"""

import ipaddress
import re
import threading
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from glbpy import abi
from glbpy.errors import AbiError, GlbError, InvalidInputError, ListsError, SnapshotError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _load() -> tuple[Any, Any]:
    """Check the extension's ABI note, import it, and return its (ffi, lib). Raises AbiError."""
    extension = abi.find_extension()
    if extension is None:
        raise AbiError("the extension glbpy._glb is not built: run `make setup`")
    abi.check_extension(extension)
    from glbpy import _glb

    return _glb.ffi, _glb.lib


ffi, lib = _load()

HOPS_MAX: int = lib.GLB_HOPS_MAX
HOP_NONE: int = lib.GLB_HOP_NONE
NAME_MAX: int = lib.GLB_NAME_MAX
ROWS_DEFAULT: int = lib.GLB_TABLE_ROWS_DEFAULT
ROWS_MIN: int = lib.GLB_TABLE_ROWS_MIN
ROWS_MAX: int = lib.GLB_TABLE_ROWS_MAX
MAGLEV_ROWS_MIN: int = lib.GLB_MAGLEV_ROWS_MIN
MAGLEV_ROWS_DEFAULT: int = lib.GLB_MAGLEV_ROWS_DEFAULT
POOL_BACKENDS_MAX: int = lib.GLB_POOL_BACKENDS_MAX
LIMIT_MAX: int = lib.GLB_LIMIT_MAX
LIST_PREFIXES_MAX: int = lib.GLB_LIST_PREFIXES_MAX


def _constants(prefix: str, *words: str) -> dict[str, int]:
    return {word: getattr(lib, f"GLB_{prefix}_{word.upper()}") for word in words}


STATES = _constants("STATE", "active", "filling", "draining", "inactive")
HEALTHS = _constants("HEALTH", "unknown", "healthy", "unhealthy")
ALGORITHMS = _constants("ALGORITHM", "rendezvous", "maglev")
POLICIES = _constants("POLICY", "ordered", "glb")
PROTOCOLS = _constants("IPPROTO", "tcp", "udp") | _constants("PROTOCOL", "any")
UNMATCHED = _constants("UNMATCHED", "punt", "drop", "reject")
OVERSIZES = _constants("OVERSIZE", "icmp", "fragment", "drop")
ENCAPSULATIONS = _constants(
    "ENCAP", "gue", "gre", "ipip", "ip6ip6", "4in6", "6in4", "l2dsr", "l3dsr", "nat"
)
HASH_FIELDS = _constants("HASH", "src_addr", "dst_addr", "src_port", "dst_port")
OUTER_CHECKSUMS = _constants("OUTER_CHECKSUM", "zero", "computed")
ECHOES = _constants("ECHO", "forward", "punt", "answer")
REFUSALS = ("packets_limited", "flows_limited", "blocked", "not_allowed")  # of struct glb_refused
KINDS = _constants("PACKET", "other", "tcp", "udp", "echo", "too_big", "icmp", "fragment", "error")


# ---- input ----


@dataclass(frozen=True, slots=True)
class BackendInput:
    """A backend of a pool. ``id`` is stable and unique in the configuration, from 1."""

    name: str
    id: int
    address: Address
    state: str = "active"
    health: str = "unknown"
    weight: int = 1


@dataclass(frozen=True, slots=True)
class PoolInput:
    name: str
    backends: tuple[BackendInput, ...]


@dataclass(frozen=True, slots=True)
class BindInput:
    """One VIP prefix, protocol (tcp, udp, any) and inclusive port range of a service."""

    vip: Network
    protocol: str
    port_first: int
    port_last: int


@dataclass(frozen=True, slots=True)
class PriorInput:
    """A former state of a service's rows: who had a part in them, and the rules.

    ``members`` are (position in the pool, weight, state); others had no part.
    """

    members: tuple[tuple[int, int, str], ...]
    seed: bytes
    hops: int = 2
    policy: str = "ordered"
    algorithm: str = "rendezvous"


@dataclass(frozen=True, slots=True)
class AltInput:
    """A former look-up of a service: what gave a flow its row, and its states, newest first."""

    pool: int
    hash_key: bytes
    priors: tuple[PriorInput, ...]
    rows: int = ROWS_DEFAULT
    hash_fields: tuple[str, ...] = ("src_addr",)
    source_bits_v4: int = 32
    source_bits_v6: int = 128


@dataclass(frozen=True, slots=True)
class QuicInput:
    """A configuration of QUIC-LB. ``servers`` are (position in the service's pool, server id)."""

    config_id: int
    server_id_length: int
    nonce_length: int
    key: bytes | None  # None: in the clear
    servers: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class ProtectionInput:
    """Limits of a service on each director: a second, and at once; both 0 for none. Lists go by name."""

    packets_per_second: int = 0
    packets_burst: int = 0
    flows_per_second: int = 0
    flows_burst: int = 0
    block: str | None = None
    allow: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceInput:
    """A service. ``pool`` is a position in the configuration's pools; keys have 16 bytes."""

    name: str
    id: int
    pool: int
    hash_key: bytes
    seed: bytes
    binds: tuple[BindInput, ...]
    rows: int = ROWS_DEFAULT
    hops: int = 2
    policy: str = "ordered"
    algorithm: str = "rendezvous"
    encapsulation: str = "gue"
    hash_fields: tuple[str, ...] = ("src_addr",)
    alt_hash_fields: tuple[str, ...] = ()
    source_bits_v4: int = 32  # leading bits of the source address that are hashed
    source_bits_v6: int = 128
    unmatched: str = "punt"
    oversize: str = "icmp"
    flow_cache: bool = False  # directors remember its flows
    udp_timeout: int = 0  # s, those of UDP; 0: as long as a director's own
    fragments: bool = False  # later fragments follow the first one
    gre_key: int | None = None
    dscp: int = 0  # of l3dsr
    backend_port: int | None = None  # of nat; None: the packet's own
    outer_dscp: int | str = 0  # or "copy"
    ecn: str = "zero"  # or "copy"
    priors: tuple[PriorInput, ...] = ()  # former states of its rows, newest first
    alt: AltInput | None = None
    quic: tuple[QuicInput, ...] = ()  # ascending by config_id
    protection: ProtectionInput | None = None


@dataclass(frozen=True, slots=True)
class ConfigInput:
    pools: tuple[PoolInput, ...]
    services: tuple[ServiceInput, ...]
    revision: int = 0

    def with_oversize(self, oversize: str | None) -> "ConfigInput":
        """Return the same with another ``oversize`` of all services; None: their own."""
        if oversize is None:
            return self
        services = tuple(replace(service, oversize=oversize) for service in self.services)
        return replace(self, services=services)


# ---- output ----


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """A backend in a snapshot. ``index`` counts all pools' backends, as a packet's chain does."""

    index: int
    id: int
    name: str
    address: Address
    state: str
    health: str
    weight: int


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A row table. Its pool's backends are ``backend_base`` .. ``backend_base + backend_count - 1``."""

    index: int
    pool: str
    rows: int
    hops: int
    policy: str
    algorithm: str
    backend_base: int
    backend_count: int


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    index: int
    id: int
    name: str
    table: int
    alt_table: int
    hash_fields: tuple[str, ...]
    alt_hash_fields: tuple[str, ...]
    source_bits: tuple[int, int]  # hashed of an IPv4 and of an IPv6 source address
    encapsulation: str
    flow_cache: bool
    udp_timeout: int  # s; 0: as long as a director's own
    oversize: str
    fragments: bool
    encap_value: int  # gre: the key; nat: the backend's port, or 0
    tos: int  # of the outer header; l3dsr: of the packet
    tos_mask: int  # bits of the packet's own that are kept in it
    protection: ProtectionInput | None
    hash_key: bytes = field(repr=False)
    alt_hash_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Client packets, and their bytes of IP without any encapsulation."""

    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class LcoreCounters:
    """The counters of one lcore: a worker; in a pipeline also a receiver or sender."""

    worker: int  # place in the file
    lcore: int
    role: str
    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int
    bursts: int
    idle_polls: int
    sleeps: int
    busy_cycles: int
    stalls: int
    stuck: bool
    ring_high_water: int


@dataclass(frozen=True, slots=True)
class Counters:
    """A forwarder's counters, summed over its workers. Services and backends go by their ids."""

    pid: int
    start_time_ns: int  # since the epoch
    generation: int
    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int
    bursts: int
    idle_polls: int
    sleeps: int
    busy_cycles: int  # of the TSC, in polls that brought packets
    stalls: int  # times that a worker was found stuck
    stuck: int  # workers that are now
    tsc_hz: int
    flows: dict[str, int]  # flow caches: hits, misses, …, entries, capacity; all 0 where there are none
    latency: tuple[int, ...]  # sampled bursts; bucket n: 2**n up to 2**(n + 1) ns, the last also above
    reasons: dict[str, int]  # packets; every reason, zeros included
    services: dict[int, Traffic]
    refused: dict[int, dict[str, int]]  # of services, by REFUSALS; those that are not all 0
    backends: dict[int, Traffic]
    lcores: tuple[LcoreCounters, ...]


@dataclass(frozen=True, slots=True)
class CaptureRecord:
    """A packet that a worker copied. ``service`` and ``backend`` are ids, 0 = none; ``frame`` may be cut."""

    time_ns: int  # since the epoch
    frame: bytes
    frame_len: int  # bytes that it had
    worker: int
    port: int  # where it came in
    at: str
    verdict: str
    reason: str
    service: int
    backend: int  # of the first hop
    hops: int


@dataclass(frozen=True, slots=True)
class Leaver:
    """A backend that leaves ``rows`` chains of a service, being first in ``first`` of them. Both are ids."""

    service: int
    backend: int
    rows: int
    first: int


# ---- errors ----

_PATH = re.compile(r"((?:[a-z_]+(?:\[\d+\])?\.?)+): (.*)", re.DOTALL)


def _input_error(text: str, prefix: str = "") -> InvalidInputError:
    """Make an error of a text that begins with a path, as in ``services[2].binds[0]: wrong``."""
    found = _PATH.fullmatch(text)
    if not found:
        return InvalidInputError(text, prefix)
    path = found[1].replace("[", ".").replace("]", "").rstrip(".")
    return InvalidInputError(found[2], prefix + "/" + path.replace(".", "/"))


def _message(error: Any) -> str:
    text: str = ffi.string(error.text).decode(errors="replace")
    return text


def _number(value: int, low: int, high: int, where: str) -> int:
    """Check a number that goes into a C field, which would otherwise raise OverflowError."""
    if not low <= value <= high:
        raise _input_error(f"{where}: {value} is not from {low} to {high}")
    return value


def _word(words: dict[str, int], word: str, where: str) -> int:
    if word not in words:
        raise _input_error(f"{where}: {word!r} is none of {', '.join(words)}")
    return words[word]


def _fields(names: Iterable[str], where: str) -> int:
    bits = 0
    for name in names:
        bits |= _word(HASH_FIELDS, name, where)
    return bits


def _key(key: bytes, out: Any, where: str) -> None:
    if len(key) != 16:
        raise _input_error(f"{where}: {len(key)} bytes instead of 16")
    ffi.buffer(out)[:] = key


# ---- to C ----


FAMILIES = {4: lib.GLB_FAMILY_V4, 16: lib.GLB_FAMILY_V6}  # by the address's length


def _set_address(out: Any, address: Address) -> None:
    packed = address.packed
    ffi.memmove(out.bytes, packed, len(packed))
    out.family = FAMILIES[len(packed)]


def address_to_c(address: Address) -> Any:
    """Return a new ``struct glb_addr *``."""
    out = ffi.new("struct glb_addr *")
    _set_address(out, address)
    return out


def _address_from_c(addr: Any) -> Address:
    packed = bytes(ffi.buffer(addr.bytes))
    return ipaddress.ip_address(packed[:4] if addr.family == lib.GLB_FAMILY_V4 else packed)


def _mac(address: bytes) -> bytes:
    if len(address) != 6:
        raise InvalidInputError(f"a MAC address of {len(address)} bytes instead of 6")
    return address


class _Arena:
    """Keeps C memory alive as long as it lives itself."""

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def new(self, kind: str, init: Any) -> Any:
        memory = ffi.new(kind, init)
        self._kept.append(memory)
        return memory

    def text(self, value: str) -> Any:
        return self.new("char[]", value.encode())


def _check_backend(backend: BackendInput, where: str) -> None:
    if "\0" in backend.name:
        raise _input_error(f"{where}name: has a NUL in it")
    _number(backend.id, 1, 0xFFFFFFFF, f"{where}id")
    _number(backend.weight, 0, 65535, f"{where}weight")
    _word(STATES, backend.state, f"{where}state")
    _word(HEALTHS, backend.health, f"{where}health")


def _backends(arena: _Arena, backends: Sequence[BackendInput], where: str) -> Any:
    """Return an array of them. There may be thousands, so all of them are given to C in one call."""
    texts = [backend.name.encode() for backend in backends]
    names = arena.new("char[]", b"\0".join(texts))
    every, at = [], 0
    for i, (backend, text) in enumerate(zip(backends, texts, strict=True)):
        number, weight, packed = backend.id, backend.weight, backend.address.packed
        state, health = STATES.get(backend.state), HEALTHS.get(backend.health)
        fine = 1 <= number <= 0xFFFFFFFF and 0 <= weight <= 65535 and b"\0" not in text
        if not fine or state is None or health is None:
            _check_backend(backend, f"{where}backends[{i}].")  # raises
        every.append((names + at, number, weight, state, health, (packed, FAMILIES[len(packed)])))
        at += len(text) + 1
    return arena.new("struct glb_backend_config[]", every)


def _binds(arena: _Arena, binds: Sequence[BindInput], where: str) -> Any:
    out = arena.new("struct glb_bind_config[]", len(binds))
    for i, bind in enumerate(binds):
        here = f"{where}binds[{i}]."
        _set_address(out[i].addr, bind.vip.network_address)
        out[i].bits = bind.vip.prefixlen
        out[i].protocol = _word(PROTOCOLS, bind.protocol, f"{here}protocol")
        out[i].port_first = _number(bind.port_first, 0, 65535, f"{here}port_first")
        out[i].port_last = _number(bind.port_last, 0, 65535, f"{here}port_last")
    return out


def _service(arena: _Arena, service: ServiceInput, where: str, out: Any) -> None:
    if "\0" in service.name:
        raise _input_error(f"{where}name: has a NUL in it")
    out.name = arena.text(service.name)
    out.id = _number(service.id, 1, 0xFFFFFFFF, f"{where}id")
    out.pool = _number(service.pool, 0, 0xFFFFFFFF, f"{where}pool")
    out.rows = _number(service.rows, MAGLEV_ROWS_MIN, ROWS_MAX, f"{where}rows")
    out.hops = _number(service.hops, 1, HOPS_MAX, f"{where}hops")
    out.policy = _word(POLICIES, service.policy, f"{where}policy")
    out.unmatched = _word(UNMATCHED, service.unmatched, f"{where}unmatched")
    out.oversize = _word(OVERSIZES, service.oversize, f"{where}oversize")
    out.algorithm = _word(ALGORITHMS, service.algorithm, f"{where}algorithm")
    out.encap = _word(ENCAPSULATIONS, service.encapsulation, f"{where}encapsulation")
    _encapsulation(service, where, out)
    out.hash_fields = _fields(service.hash_fields, f"{where}hash_fields")
    out.alt_hash_fields = _fields(service.alt_hash_fields, f"{where}alt_hash_fields")
    out.source_bits_v4 = _number(service.source_bits_v4, 1, 32, f"{where}source_bits_v4")
    out.source_bits_v6 = _number(service.source_bits_v6, 1, 128, f"{where}source_bits_v6")
    out.flow_cache = service.flow_cache
    out.udp_timeout = _number(service.udp_timeout, 0, lib.GLB_FLOW_TIMEOUT_MAX, f"{where}udp_timeout")
    out.fragments = service.fragments
    _key(service.hash_key, out.hash_key, f"{where}hash_key")
    _key(service.seed, out.seed, f"{where}seed")
    out.binds = _binds(arena, service.binds, where)
    out.bind_count = len(service.binds)
    _priors(arena, service.priors, where, out)
    if service.alt is not None:
        out.alt = _alt(arena, service.alt, f"{where}alt.")
    out.quic = _quic(arena, service.quic, where)
    out.quic_count = len(service.quic)
    if service.protection is not None:
        out.protection = _protection(arena, service.protection, f"{where}protection.")


def _quic(arena: _Arena, configurations: Sequence[QuicInput], where: str) -> Any:
    """Return an array of them. What does not fit together is the library's to refuse."""
    out = arena.new("struct glb_quic_config[]", len(configurations))
    for q, quic in enumerate(configurations):
        here = f"{where}quic[{q}]."
        out[q].config_id = _number(quic.config_id, 0, 255, f"{here}config_id")
        out[q].server_id_len = _number(quic.server_id_length, 0, 255, f"{here}server_id_len")
        out[q].nonce_len = _number(quic.nonce_length, 0, 255, f"{here}nonce_len")
        out[q].encrypted = quic.key is not None
        if quic.key is not None:
            _key(quic.key, out[q].key, f"{here}key")
        out[q].servers = servers = arena.new("struct glb_quic_server_config[]", len(quic.servers))
        out[q].server_count = len(quic.servers)
        for i, (position, server_id) in enumerate(quic.servers):
            servers[i].backend = _number(position, 0, 0xFFFFFFFF, f"{here}servers[{i}].backend")
            if len(server_id) != quic.server_id_length or len(server_id) > lib.GLB_QUIC_SERVER_ID_MAX:
                raise _input_error(f"{here}servers[{i}].id: has {len(server_id)} bytes")
            ffi.buffer(servers[i].id)[: len(server_id)] = server_id
    return out


def _protection(arena: _Arena, protection: ProtectionInput, where: str) -> Any:
    out = arena.new("struct glb_protection_config *", {})
    for name in ("packets_per_second", "packets_burst", "flows_per_second", "flows_burst"):
        setattr(out, name, _number(getattr(protection, name), 0, LIMIT_MAX, where + name))
    for name in ("block", "allow"):
        value = getattr(protection, name)
        if value is not None:
            setattr(out, name, arena.text(value))
    return out


def _priors(arena: _Arena, priors: Sequence[PriorInput], where: str, out: Any) -> None:
    out.priors = made = arena.new("struct glb_prior_config[]", len(priors))
    out.prior_count = len(priors)
    for p, prior in enumerate(priors):
        here = f"{where}priors[{p}]."
        made[p].hops = _number(prior.hops, 1, HOPS_MAX, f"{here}hops")
        made[p].policy = _word(POLICIES, prior.policy, f"{here}policy")
        made[p].algorithm = _word(ALGORITHMS, prior.algorithm, f"{here}algorithm")
        _key(prior.seed, made[p].seed, f"{here}seed")
        made[p].members = members = arena.new("struct glb_member_config[]", len(prior.members))
        made[p].member_count = len(prior.members)
        for m, (position, weight, state) in enumerate(prior.members):
            members[m].backend = _number(position, 0, 0xFFFFFFFF, f"{here}members[{m}]")
            members[m].weight = _number(weight, 0, 65535, f"{here}members[{m}]")
            members[m].state = _word(STATES, state, f"{here}members[{m}]")


def _alt(arena: _Arena, alt: AltInput, where: str) -> Any:
    out = arena.new("struct glb_alt_config *", {})
    out.pool = _number(alt.pool, 0, 0xFFFFFFFF, f"{where}pool")
    out.rows = _number(alt.rows, MAGLEV_ROWS_MIN, ROWS_MAX, f"{where}rows")
    out.hash_fields = _fields(alt.hash_fields, f"{where}hash_fields")
    out.source_bits_v4 = _number(alt.source_bits_v4, 1, 32, f"{where}source_bits_v4")
    out.source_bits_v6 = _number(alt.source_bits_v6, 1, 128, f"{where}source_bits_v6")
    _key(alt.hash_key, out.hash_key, f"{where}hash_key")
    _priors(arena, alt.priors, where, out)
    return out


def _encapsulation(service: ServiceInput, where: str, out: Any) -> None:
    """Set what belongs to an encapsulation. Whether it belongs to this one is the library's to judge."""
    if service.gre_key is not None:
        out.gre_keyed = 1
        out.encap_value = _number(service.gre_key, 0, 0xFFFFFFFF, f"{where}gre_key")
    if service.backend_port is not None:
        out.encap_value = _number(service.backend_port, 1, 65535, f"{where}backend_port")
    mask = 0xFC if service.outer_dscp == "copy" else 0
    dscp = 0 if isinstance(service.outer_dscp, str) else service.outer_dscp
    if service.encapsulation == "l3dsr":
        dscp, mask = service.dscp, 0x03
    out.tos = _number(dscp, 0, 63, f"{where}dscp") << 2
    out.tos_mask = mask | (0x03 if service.ecn == "copy" else 0)


class TableCache:
    """Row tables of the last compilation. The next one makes anew only those rows that can differ.

    Holds as much memory as the rows of a snapshot. Any thread; compilations with one cache take turns.
    """

    def __init__(self) -> None:
        memory = lib.glb_table_cache_new()
        if not memory:
            raise GlbError("out of memory for a cache of tables")
        self.c = ffi.gc(memory, lib.glb_table_cache_free)
        self.lock = threading.Lock()


def compile_snapshot(config: ConfigInput, threads: int = 0, cache: TableCache | None = None) -> bytes:
    """Return the bytes of the snapshot of ``config``; equal configurations give equal bytes.

    Other Python threads run meanwhile. ``threads``: at most so many at work; 0: one for each CPU, up to 8.
    ``cache``: tables of its last compilation save work; the bytes are the same.

    Raises InvalidInputError with the pointer of the field (``/services/2/binds/0/port_last``).
    """
    arena = _Arena()
    pools = arena.new("struct glb_pool_config[]", len(config.pools))
    for p, pool in enumerate(config.pools):
        if "\0" in pool.name:
            raise _input_error(f"pools[{p}].name: has a NUL in it")
        pools[p].name = arena.text(pool.name)
        pools[p].backends = _backends(arena, pool.backends, f"pools[{p}].")
        pools[p].backend_count = len(pool.backends)
    services = arena.new("struct glb_service_config[]", len(config.services))
    for s, service in enumerate(config.services):
        _service(arena, service, f"services[{s}].", services[s])
    c_config = ffi.new("struct glb_config *", {
        "revision": _number(config.revision, 0, 2**64 - 1, "revision"),
        "pools": pools,
        "pool_count": len(config.pools),
        "services": services,
        "service_count": len(config.services),
        "threads": _number(threads, 0, 255, "threads"),
        "cache": cache.c if cache else ffi.NULL,
    })  # fmt: skip
    buffer = ffi.new("struct glb_buffer *")
    error = ffi.new("struct glb_error *")
    with cache.lock if cache else nullcontext():
        status = lib.glb_snapshot_compile(c_config, buffer, error)
    if status != 0:
        raise _input_error(_message(error))
    try:
        return bytes(ffi.buffer(buffer.data, buffer.len))
    finally:
        lib.glb_buffer_free(buffer)


def siphash24(key: bytes, data: bytes) -> int:
    """SipHash-2-4 of ``data`` under a key of 16 bytes."""
    assert len(key) == 16
    return int(lib.glb_siphash24(key, data, len(data)))


def build_rows(
    backends: Sequence[BackendInput], *, rows: int, hops: int, policy: str, seed: bytes,
    algorithm: str = "rendezvous", threads: int = 0,
) -> "array[int]":
    """Return ``rows * hops`` positions in ``backends`` (HOP_NONE at the end of shorter chains), row by row.

    Other Python threads run meanwhile. ``threads``: at most so many at work; 0: one for each CPU, up to 8.

    Raises InvalidInputError with the pointer of the field (``/backends/3/state``).
    """
    arena = _Arena()
    config = ffi.new("struct glb_table_config *")
    config.backends = _backends(arena, backends, "")
    config.backend_count = len(backends)
    config.rows = _number(rows, MAGLEV_ROWS_MIN, ROWS_MAX, "rows")
    config.hops = _number(hops, 1, HOPS_MAX, "hops")
    config.policy = _word(POLICIES, policy, "policy")
    config.algorithm = _word(ALGORITHMS, algorithm, "algorithm")
    config.threads = _number(threads, 0, 255, "threads")
    _key(seed, config.seed, "seed")
    out = array("H", bytes(2 * rows * hops))
    error = ffi.new("struct glb_error *")
    if lib.glb_table_build(config, ffi.from_buffer("uint16_t[]", out, require_writable=True), error) != 0:
        raise _input_error(_message(error))
    return out


def populate_maglev(
    permutations: Sequence[tuple[int, int]], weights: Sequence[int], rows: int
) -> "array[int]":
    """Return Maglev's table for backends whose permutations begin at (offset, skip): a position for each row.

    ``rows`` is a prime above every offset and skip, skips and weights are at least 1.
    """
    backends = ffi.new("struct glb_maglev_backend[]", len(weights))
    for i, ((offset, skip), weight) in enumerate(zip(permutations, weights, strict=True)):
        backends[i].offset = _number(offset, 0, rows - 1, f"permutations[{i}]")
        backends[i].skip = _number(skip, 1, rows - 1, f"permutations[{i}]")
        backends[i].weight = _number(weight, 1, 65535, f"weights[{i}]")
    out = array("H", bytes(2 * rows))
    memory = ffi.from_buffer("uint16_t[]", out, require_writable=True)
    if lib.glb_maglev_populate(backends, len(weights), rows, memory) != 0:
        raise GlbError("out of memory for a Maglev table")
    return out


# ---- snapshots ----


def _name_of(words: dict[str, int], value: int) -> str:
    return next(word for word, number in words.items() if number == value)


def _names_of(bits: int) -> tuple[str, ...]:
    return tuple(name for name, bit in HASH_FIELDS.items() if bits & bit)


class Snapshot:
    """A validated snapshot. Immutable; any thread. ``c`` is its ``struct glb_snapshot *``, for C calls."""

    def __init__(self, data: bytes) -> None:
        """Raises SnapshotError, saying what is wrong with the bytes."""
        self._data = bytes(data)
        self._memory = ffi.from_buffer(self._data)
        self.c = ffi.new("struct glb_snapshot *")
        error = ffi.new("struct glb_error *")
        if lib.glb_snapshot_open(self._memory, len(self._data), self.c, error) != 0:
            raise SnapshotError(_message(error))

    @classmethod
    def open(cls, data: bytes) -> "Snapshot":
        return cls(data)

    @property
    def revision(self) -> int:
        return int(self.c.header.revision)

    @property
    def digest(self) -> str:
        """The content digest, 32 hex digits."""
        return bytes(ffi.buffer(self.c.header.digest)).hex()

    def _string(self, offset: int) -> str:
        text: str = ffi.string(self.c.strings + offset).decode(errors="replace")
        return text

    def _protection(self, index: int) -> ProtectionInput | None:
        found = lib.glb_snapshot_protection(self.c, index)
        if not found:
            return None
        names = ("packets_per_second", "packets_burst", "flows_per_second", "flows_burst")
        lists = (self._string(offset) if offset else None for offset in (found.block, found.allow))
        return ProtectionInput(*(getattr(found, name) for name in names), *lists)

    @cached_property
    def services(self) -> tuple[ServiceInfo, ...]:
        """Ascending by id."""
        return tuple(self._service(i) for i in range(self.c.service_count))

    def _service(self, index: int) -> ServiceInfo:
        service = self.c.services[index]
        return ServiceInfo(
            index=index,
            id=service.id,
            name=self._string(service.name),
            table=service.table,
            alt_table=service.alt_table,
            hash_fields=_names_of(service.hash_fields),
            alt_hash_fields=_names_of(service.alt_hash_fields),
            source_bits=(service.source_bits_v4, service.source_bits_v6),
            encapsulation=_name_of(ENCAPSULATIONS, service.encap),
            flow_cache=bool(service.flags & lib.GLB_SERVICE_FLOW_CACHE),
            udp_timeout=self.c.udp_timeouts[index] if self.c.udp_timeouts else 0,
            oversize=_name_of(OVERSIZES, service.oversize),
            fragments=bool(service.flags & lib.GLB_SERVICE_FRAGMENTS),
            encap_value=service.encap_value,
            tos=service.tos,
            tos_mask=service.tos_mask,
            protection=self._protection(index),
            hash_key=bytes(ffi.buffer(service.hash_key)),
            alt_hash_key=bytes(ffi.buffer(service.alt_hash_key)),
        )

    @cached_property
    def backends(self) -> tuple[BackendInfo, ...]:
        """All pools' backends, pool by pool, in the order of the configuration."""
        return tuple(self._backend(i) for i in range(self.c.backend_count))

    def _backend(self, index: int) -> BackendInfo:
        backend = self.c.backends[index]
        return BackendInfo(
            index=index,
            id=backend.id,
            name=self._string(backend.name),
            address=_address_from_c(backend.addr),
            state=_name_of(STATES, backend.state),
            health=_name_of(HEALTHS, backend.health),
            weight=backend.weight,
        )

    @cached_property
    def tables(self) -> tuple[TableInfo, ...]:
        return tuple(self._table(i) for i in range(self.c.table_count))

    def _table(self, index: int) -> TableInfo:
        table = self.c.tables[index]
        return TableInfo(
            index=index,
            pool=self._string(table.pool_name),
            rows=table.rows,
            hops=table.hops,
            policy=_name_of(POLICIES, table.policy),
            algorithm=_name_of(ALGORITHMS, table.algorithm),
            backend_base=table.backend_base,
            backend_count=table.backend_count,
        )

    def row(self, table: int, row: int) -> tuple[BackendInfo, ...]:
        """Return the chain of a row. Raises IndexError."""
        info = self.tables[table]
        if not 0 <= row < info.rows:
            raise IndexError(f"row {row} of {info.rows}")
        hops = lib.glb_snapshot_row(self.c, table, row)
        chain = (hops[i] for i in range(info.hops) if hops[i] != HOP_NONE)
        return tuple(self.backends[info.backend_base + hop] for hop in chain)

    def rows(self, table: int) -> "array[int]":
        """Return all rows of a table: positions in its pool, HOP_NONE at the end of shorter chains."""
        info = self.tables[table]
        first = lib.glb_snapshot_row(self.c, table, 0)
        return array("H", bytes(ffi.buffer(first, 2 * info.rows * info.hops)))

    def find(self, address: Address, protocol: str, port: int) -> ServiceInfo | None:
        """Return the service that takes packets for this address, protocol and port.

        Protocol "any" stands for those that are neither TCP nor UDP; their port is 0.
        """
        vip = lib.glb_snapshot_find_vip(self.c, address_to_c(address))
        if vip == lib.GLB_INDEX_NONE:
            return None
        found = lib.glb_snapshot_find_service(self.c, vip, PROTOCOLS[protocol], port)
        return None if found == lib.GLB_INDEX_NONE else self.services[found]

    def is_vip(self, address: Address) -> bool:
        """Say whether an address is one that clients use, for whatever service."""
        return bool(lib.glb_snapshot_find_vip(self.c, address_to_c(address)) != lib.GLB_INDEX_NONE)

    def binds(self, service: ServiceInfo) -> list[tuple[Address, str, int]]:
        """Return the first address, the protocol and the first port of every bind of a service."""
        found = []
        for n in range(self.c.vip_count):
            vip = self.c.vips[n]
            for bind in self.c.binds[vip.bind_first : vip.bind_first + vip.bind_count]:
                if bind.service == service.index:
                    found.append(
                        (_address_from_c(vip.addr), _name_of(PROTOCOLS, bind.protocol), bind.port_first)
                    )
        return found

    def find_echo(self, address: Address) -> ServiceInfo | None:
        """Return the service that takes ICMP echo requests for this address."""
        vip = lib.glb_snapshot_find_vip(self.c, address_to_c(address))
        return None if vip == lib.GLB_INDEX_NONE else self.services[self.c.vips[vip].echo_service]


# ---- source lists ----


def _read_prefixes(text: bytes) -> tuple[Any, int]:
    """Return C memory with the prefixes of a list's text, and how many. Raises InvalidInputError."""
    out = ffi.new("struct glb_prefix **")
    count = ffi.new("uint32_t *")
    error = ffi.new("struct glb_error *")
    if lib.glb_prefixes_read(text, len(text), out, count, error) != 0:
        raise InvalidInputError(_message(error))
    return ffi.gc(out[0], lib.glb_prefixes_free, size=24 * count[0]), count[0]


def tidy_prefixes(text: bytes) -> tuple[bytes, int]:
    """Return a list's prefixes as text in its one form, in order and each once, and how many there are.

    Raises InvalidInputError, which names line and fix. Other Python threads run meanwhile.
    """
    prefixes, count = _read_prefixes(text)
    buffer = ffi.new("struct glb_buffer *")
    if lib.glb_prefixes_write(prefixes, count, buffer) != 0:
        raise GlbError(f"out of memory for {count} prefixes")
    try:
        return bytes(ffi.buffer(buffer.data, buffer.len)), count
    finally:
        lib.glb_buffer_free(buffer)


def compile_lists(lists: Mapping[str, bytes]) -> bytes:
    """Return the bytes of a lists file (docs/wire/lists.md) with these lists' texts by name.

    Raises InvalidInputError, whose pointer names the list.
    """
    arena = _Arena()
    configs = arena.new("struct glb_list_config[]", len(lists))
    kept = []
    for i, (name, text) in enumerate(lists.items()):
        try:
            prefixes, count = _read_prefixes(text)
        except InvalidInputError as wrong:
            raise InvalidInputError(wrong.detail, f"/lists/{name}") from wrong
        kept.append(prefixes)
        configs[i].name = arena.text(name)
        configs[i].prefixes, configs[i].count = prefixes, count
    buffer = ffi.new("struct glb_buffer *")
    error = ffi.new("struct glb_error *")
    if lib.glb_lists_compile(configs, len(lists), buffer, error) != 0:
        raise _input_error(_message(error))
    try:
        return bytes(ffi.buffer(buffer.data, buffer.len))
    finally:
        lib.glb_buffer_free(buffer)


class Lists:
    """A validated lists file. Immutable; any thread. ``c`` is its ``struct glb_lists *``, for C calls."""

    def __init__(self, data: bytes) -> None:
        """Raises ListsError, saying what is wrong with the bytes."""
        self._data = bytes(data)
        self._memory = ffi.from_buffer(self._data)
        self.c = ffi.new("struct glb_lists *")
        error = ffi.new("struct glb_error *")
        if lib.glb_lists_open(self._memory, len(self._data), self.c, error) != 0:
            raise ListsError(_message(error))

    @property
    def digest(self) -> str:
        """The content digest, 32 hex digits."""
        return bytes(ffi.buffer(self.c.header.digest)).hex()

    @cached_property
    def prefixes(self) -> dict[str, int]:
        """How many prefixes each list has, by name."""
        entries = (self.c.entries[i] for i in range(self.c.count))
        return {ffi.string(entry.name).decode(errors="replace"): entry.prefixes for entry in entries}

    def has(self, name: str, address: Address) -> bool:
        """Tell whether an address is in the list of this name; in one that there is not: no."""
        found = ffi.new("struct glb_list *")
        lib.glb_lists_find(self.c, name.encode(), found)
        return bool(lib.glb_list_has(found, address_to_c(address)))


def leavers(before: Snapshot, after: Snapshot) -> list[Leaver]:
    """Return the backends that leave chains between two snapshots, ascending by (service, backend) id."""
    capacity = 64
    while True:
        out = ffi.new("struct glb_leaver[]", capacity)
        count = lib.glb_snapshot_leavers(before.c, after.c, out, capacity)
        if count < 0:
            raise GlbError("out of memory while comparing two snapshots")
        if count <= capacity:
            return [Leaver(x.service, x.backend, x.rows, x.first) for x in out[0:count]]
        capacity = count


# ---- the packet path ----


@dataclass(frozen=True, slots=True)
class DirectorInput:
    """What a director adds to a snapshot. MACs have 6 bytes; ``mtu`` is bytes of outer IP, 0 is no limit.

    ``neighbours`` has the MACs of backends on the director's own link, by address; packets to others go to
    ``gateway_mac``. With it the director has next hops of its own, which l2dsr needs.
    """

    outer_source_v4: ipaddress.IPv4Address | None
    local_mac: bytes
    gateway_mac: bytes
    outer_udp_checksum: str = "zero"
    icmp_echo: str = "forward"
    filter_mac: bool = False
    strict: bool = False
    mtu: int = 0
    outer_source_v6: ipaddress.IPv6Address | None = None
    outer_prefix_v4: ipaddress.IPv4Network | None = None
    outer_prefix_v6: ipaddress.IPv6Network | None = None
    outer_udp_checksum_v6: str = "computed"
    neighbours: Mapping[Address, bytes] | None = None
    peers: Sequence[Address] = ()  # directors that it shares fragments with, itself included


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow as the client sends it. Ports are 0 where it has none."""

    family: int  # 4 or 6
    protocol: int  # IP protocol number
    source: Address
    source_port: int
    destination: Address
    destination_port: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What the packet path made of one frame. What it did not come to is None or empty."""

    verdict: str
    reason: str
    kind: str | None  # KINDS; None: not parsed to the end
    length: int  # of the client's IP packet, bytes
    tags: int  # VLAN tags
    vip: Address | None  # destination of the packet itself
    flow: Flow | None
    service: ServiceInfo | None
    hash: int | None
    row: int | None
    alt_row: int | None
    chain: tuple[BackendInfo, ...]
    output: bytes | None  # the frame to send; of several the first
    further: tuple[bytes, ...] = ()  # the other pieces of a packet that goes in fragments
    by_id: bool = False  # the first hop is the one that the packet's QUIC connection id names
    told_mtu: tuple[Address, int] | None = None  # about an outer packet: to whom, the MTU of the way there
    peer: Address | None = None  # the director that a fragment is redirected to


class PacketPath:
    """A snapshot joined with a director: the forwarder's packet path, one frame at a time."""

    def __init__(self, snapshot: Snapshot, director: DirectorInput, lists: Lists | None = None) -> None:
        """Raises InvalidInputError when the snapshot needs what the director, or ``lists``, do not have.

        Without ``lists`` services' source lists are not looked at.
        """
        self.snapshot = snapshot
        self.lists = lists
        c = ffi.new("struct glb_director *")
        self._set_sources(c, director)
        ffi.buffer(c.local_mac)[:] = _mac(director.local_mac)
        if director.neighbours is None:
            ffi.buffer(c.gateway_mac)[:] = _mac(director.gateway_mac)
        c.outer_checksum_v6 = _word(
            OUTER_CHECKSUMS, director.outer_udp_checksum_v6, "outer_udp_checksum_v6"
        )
        c.outer_checksum = _word(OUTER_CHECKSUMS, director.outer_udp_checksum, "outer_udp_checksum")
        c.echo = _word(ECHOES, director.icmp_echo, "icmp_echo")
        c.filter_mac = director.filter_mac
        c.strict = director.strict
        c.mtu = _number(director.mtu, 0, 65535, "mtu")
        if director.peers:
            c.peers = self._peers = self._make_peers(director.peers, c)
        self._c = ffi.new("struct glb_path *")
        error = ffi.new("struct glb_error *")
        if lib.glb_path_init(self._c, snapshot.c, c, error) != 0:
            raise InvalidInputError(_message(error))
        if director.neighbours is not None:
            self._set_next_hops(director, director.neighbours)
        if lists is not None:
            self._set_filters(lists)

    def _set_filters(self, lists: Lists) -> None:
        self._filters = ffi.new("struct glb_filter[]", self.snapshot.c.protection_count + 1)
        missing = ffi.new("struct glb_list_missing *")
        if lib.glb_filters_bind(self.snapshot.c, lists.c, self._filters, missing, 1) != 0:
            service = self.snapshot.services[missing.service].name
            name = ffi.string(missing.name).decode(errors="replace")
            raise InvalidInputError(f"service {service} wants the list {name}: give --list {name}=FILE")
        self._filter = ffi.new("struct glb_filter *[1]", [self._filters])
        self._c.filters = ffi.cast("struct glb_filter **", self._filter)

    @staticmethod
    def _set_sources(c: Any, director: DirectorInput) -> None:
        for out, address in (
            (c.outer_source_v4, director.outer_source_v4),
            (c.outer_source_v6, director.outer_source_v6),
        ):
            if address is not None:
                _set_address(out, address)
        for prefix, network in (
            (c.outer_prefix_v4, director.outer_prefix_v4),
            (c.outer_prefix_v6, director.outer_prefix_v6),
        ):
            if network is not None:
                _set_address(prefix.addr, network.network_address)
                prefix.bits = network.prefixlen

    @staticmethod
    def _make_peers(addresses: Sequence[Address], director: Any) -> Any:
        peers, error = ffi.new("struct glb_peers *"), ffi.new("struct glb_error *")
        listed = ffi.new("struct glb_addr[]", len(addresses))
        for i, address in enumerate(addresses):
            _set_address(listed[i], address)
        own = (ffi.addressof(director, field) for field in ("outer_source_v4", "outer_source_v6"))
        if lib.glb_peers_set(peers, listed, len(addresses), *own, error) != 0:
            raise InvalidInputError(f"peers: {_message(error)}")
        return peers

    def _set_next_hops(self, director: DirectorInput, neighbours: Mapping[Address, bytes]) -> None:
        self._next_hops = ffi.new("uint64_t[]", max(1, len(self.snapshot.backends)))
        hops = ffi.cast("struct glb_next_hop *", self._next_hops)
        for backend in self.snapshot.backends:
            hop, own = hops[backend.index], neighbours.get(backend.address)
            ffi.buffer(hop.mac)[:] = _mac(own or director.gateway_mac)
            hop.kind = lib.GLB_NEXT_HOP_BACKEND if own else lib.GLB_NEXT_HOP_ROUTER
        egress = ffi.new("struct glb_egress *", {"mtu": director.mtu})
        ffi.buffer(egress.mac)[:] = director.local_mac
        lib.glb_path_route(self._c, self._next_hops, egress, 1)

    def decide(self, frame: bytes) -> Decision:
        """Return what becomes of an Ethernet frame, by the same C code as in the forwarder."""
        data = ffi.from_buffer("uint8_t[]", frame)
        packet = ffi.new("struct glb_packet *")
        packet.data = data
        packet.data_len = packet.frame_len = len(frame)
        lib.glb_path_burst(self._c, packet, 1)
        hashed = packet.row != lib.GLB_INDEX_NONE
        return Decision(
            verdict=verdict_name(packet.verdict),
            reason=reason_name(packet.reason),
            kind=_name_of(KINDS, packet.kind) if self._parsed(packet) else None,
            length=packet.l3_len,
            tags=max(packet.l3_offset - 14, 0) // 4,
            vip=_address_from_c(packet.vip) if packet.vip.family else None,
            flow=self._flow(packet),
            service=None
            if packet.service == lib.GLB_INDEX_NONE
            else self.snapshot.services[packet.service],
            hash=packet.hash if hashed else None,
            row=packet.row if hashed else None,
            alt_row=packet.alt_row if packet.alt_row != lib.GLB_INDEX_NONE else None,
            chain=tuple(self.snapshot.backends[packet.chain[i]] for i in range(packet.chain_len)),
            by_id=bool(packet.by_id),
            output=self._output(packet),
            further=self._further(packet),
            told_mtu=self._told_mtu(packet),
            peer=_address_from_c(self._peers.of[packet.peer].addr)
            if packet.reason == lib.GLB_REASON_FRAGMENT_REDIRECTED
            else None,
        )

    def _told_mtu(self, packet: Any) -> tuple[Address, int] | None:
        if packet.reason not in (lib.GLB_REASON_OUTER_TOO_BIG, lib.GLB_REASON_OUTER_TOO_BIG_IGNORED):
            return None
        said = ffi.new("struct glb_outer_too_big *")
        lib.glb_outer_too_big(self._c, packet, said)
        return _address_from_c(said.backend), said.mtu

    @staticmethod
    def _parsed(packet: Any) -> bool:
        return bool(packet.vip.family) and packet.reason not in (
            lib.GLB_REASON_L4_TRUNCATED,
            lib.GLB_REASON_ICMP_QUOTE_TRUNCATED,
        )

    @classmethod
    def _flow(cls, packet: Any) -> Flow | None:
        if not cls._parsed(packet) or not packet.src.family:
            return None
        return Flow(
            family=packet.family,
            protocol=packet.protocol,
            source=_address_from_c(packet.src),
            source_port=packet.sport,
            destination=_address_from_c(packet.dst),
            destination_port=packet.dport,
        )

    def _output(self, packet: Any) -> bytes | None:
        if packet.reason == lib.GLB_REASON_OVERSIZE_FRAGMENTED:
            return self._piece(packet, 0)
        if packet.reason in (lib.GLB_REASON_UNMATCHED_REJECTED, lib.GLB_REASON_OVERSIZE_ANSWERED):
            frame = ffi.new("uint8_t[]", lib.GLB_REJECT_MAX)
            return bytes(ffi.buffer(frame, lib.glb_path_reject(self._c, packet, frame)))
        if packet.reason == lib.GLB_REASON_FRAGMENT_REDIRECTED:
            header = ffi.new("uint8_t[]", lib.GLB_PEER_HEADER_MAX)
            length = lib.glb_path_redirect_header(self._c, packet, header)
            inner = ffi.buffer(packet.data + packet.l3_offset, packet.l3_len)
            return bytes(ffi.buffer(header, length)) + bytes(inner)
        if packet.verdict == lib.GLB_VERDICT_ANSWER:
            frame = ffi.new("uint8_t[]", bytes(ffi.buffer(packet.data, packet.data_len)))
            lib.glb_path_answer(self._c, packet, frame)
            return bytes(ffi.buffer(frame, packet.l3_offset + packet.l3_len))
        if packet.verdict != lib.GLB_VERDICT_FORWARD:
            return None
        header = ffi.new("uint8_t[]", packet.header_len)
        lib.glb_path_encap(self._c, packet, header)
        return bytes(ffi.buffer(header)) + bytes(ffi.buffer(self._rewritten(packet), packet.l3_len))

    def _rewritten(self, packet: Any) -> Any:
        """Return a copy of the client's packet, changed as its encapsulation changes it."""
        inner = ffi.new("uint8_t[]", bytes(ffi.buffer(packet.data + packet.l3_offset, packet.l3_len)))
        if packet.rewrite_len:
            lib.glb_path_rewrite(self._c, packet, inner)
        return inner

    def _piece(self, packet: Any, number: int) -> bytes:
        out, header = ffi.new("uint8_t[]", packet.mtu), ffi.new("uint8_t[]", packet.header_len)
        piece = ffi.new("struct glb_packet *")
        lib.glb_path_piece(packet, self._rewritten(packet), number, out, piece)
        lib.glb_path_encap(self._c, piece, header)
        return bytes(ffi.buffer(header)) + bytes(ffi.buffer(out, piece.l3_len))

    def _further(self, packet: Any) -> tuple[bytes, ...]:
        if packet.reason != lib.GLB_REASON_OVERSIZE_FRAGMENTED:
            return ()
        return tuple(self._piece(packet, number) for number in range(1, lib.glb_path_pieces(packet)))


# ---- names ----


def reason_name(reason: int) -> str:
    """Return the stable name of an ``enum glb_reason``, for example "not_vip"."""
    return _text(lib.glb_reason_name(reason))


def reason_verdict(reason: int) -> str:
    """Return the verdict that a reason belongs to: forward, answer, punt or drop."""
    return _text(lib.glb_verdict_name(lib.glb_reason_verdict(reason)))


def reason_text(reason: int) -> str:
    """Return what a reason means, for people: one sentence without a final stop."""
    return _text(lib.glb_reason_text(reason))


def verdict_name(verdict: int) -> str:
    return _text(lib.glb_verdict_name(verdict))


def steer_worker(frame: bytes, workers: int) -> int:
    """Return which of ``workers`` (1 or more) gets a frame's flow when frames are spread in software."""
    data = ffi.from_buffer("uint8_t[]", frame)
    return int(lib.glb_steer_worker(lib.glb_steer_hash(0, data, len(frame), len(frame)), workers))


def read_counters(data: Any) -> Counters:
    """Return the sums of a counter file's bytes: a buffer, best a read-only mapping of the live file.

    Raises GlbError when they are not a counter file, are cut short, or have another version.
    """
    with ffi.from_buffer(data) as buffer:
        error = ffi.new("struct glb_error *")
        if lib.glb_stats_open(buffer, len(buffer), error) != 0:
            raise GlbError(_message(error))
        return _sum(buffer)


def _sum(buffer: Any) -> Counters:
    header = ffi.cast("struct glb_stats_header *", buffer)
    total = ffi.new("struct glb_worker_stats *")
    lib.glb_stats_sum(buffer, total)
    flows = ffi.addressof(total, "flows")
    known = min(header.reason_count, lib.GLB_REASON_COUNT)
    return Counters(
        pid=header.pid, start_time_ns=header.start_time_ns, generation=header.generation,
        rx_packets=total.rx_packets, rx_bytes=total.rx_bytes,
        tx_packets=total.tx_packets, tx_bytes=total.tx_bytes,
        bursts=total.bursts, idle_polls=total.idle_polls, sleeps=total.sleeps,
        busy_cycles=total.busy_cycles, stalls=total.stalls, stuck=total.stuck, tsc_hz=header.tsc_hz,
        flows={name: lib.glb_flow_stat(flows, n) for n, name in enumerate(FLOW_STATS)},
        latency=tuple(total.latency),
        reasons={reason_name(reason): total.reasons[reason] for reason in range(known)},
        services=_traffic(buffer, header.service_ids, header.service_slots, lib.glb_stats_service),
        refused=_refused(buffer, header),
        backends=_traffic(buffer, header.backend_ids, header.backend_slots, lib.glb_stats_backend),
        lcores=tuple(_lcore(buffer, header, worker) for worker in range(header.worker_count)),
    )  # fmt: skip


def _lcore(buffer: Any, header: Any, worker: int) -> LcoreCounters:
    block = ffi.cast("struct glb_worker_stats *", buffer + header.workers + worker * header.worker_bytes)
    return LcoreCounters(
        worker=worker, lcore=block.lcore, role=_text(lib.glb_role_name(block.role)),
        rx_packets=block.rx_packets, rx_bytes=block.rx_bytes,
        tx_packets=block.tx_packets, tx_bytes=block.tx_bytes,
        bursts=block.bursts, idle_polls=block.idle_polls, sleeps=block.sleeps, busy_cycles=block.busy_cycles,
        stalls=block.stalls, stuck=block.stuck != 0, ring_high_water=block.ring_high_water,
    )  # fmt: skip


def _traffic(buffer: Any, offset: int, slots: int, read: Any) -> dict[int, Traffic]:
    """Read the slots that are taken. One that changes hands meanwhile is left out: its counters restart."""
    ids = ffi.cast("uint32_t *", buffer + offset)
    out = ffi.new("struct glb_traffic *")
    result = {}
    for slot in range(slots):
        owner = ids[slot]
        if owner != lib.GLB_ID_NONE:
            read(buffer, slot, out)
            if ids[slot] == owner:
                result[owner] = Traffic(out.packets, out.bytes)
    return result


def _refused(buffer: Any, header: Any) -> dict[int, dict[str, int]]:
    ids = ffi.cast("uint32_t *", buffer + header.service_ids)
    out = ffi.new("struct glb_refused *")
    result = {}
    for slot in range(header.service_slots):
        owner = ids[slot]
        if owner == lib.GLB_ID_NONE:
            continue
        lib.glb_stats_refused(buffer, slot, out)
        counts = {name: getattr(out, name) for name in REFUSALS}
        if any(counts.values()) and ids[slot] == owner:
            result[owner] = counts
    return result


class CaptureFile:
    """The reader's side of a live capture's shared memory (``glb/capture.h``); there may be only one."""

    def __init__(self, data: Any) -> None:
        """Take a writable mapping of the file. Raises GlbError when it is not such a file."""
        self._buffer = ffi.from_buffer(data, require_writable=True)
        self._header = ffi.cast("struct glb_capture_header *", self._buffer)
        if len(self._buffer) < ffi.sizeof("struct glb_capture_header") or (
            bytes(ffi.buffer(self._header.magic)) != b"GLBCAPT\n"
            or self._header.version != lib.GLB_CAPTURE_VERSION
            or self._header.file_bytes != len(self._buffer)
        ):
            raise GlbError("not a capture file of this release")

    def close(self) -> None:
        ffi.release(self._buffer)

    def _ring(self, index: int) -> Any:
        offset = self._header.first_ring + index * self._header.ring_bytes
        return ffi.cast("struct glb_capture_ring *", self._buffer + offset)

    def take(self) -> list[CaptureRecord]:
        """Return what has come since the last call, ring by ring, and make room for more."""
        found, size = [], self._header.record_bytes
        for index in range(self._header.rings):
            ring = self._ring(index)
            records = ffi.cast("uint8_t *", ring + 1)
            head = ring.head
            for n in range(ring.tail, head):
                at = records + n % self._header.slots * size
                found.append(_capture_record(ffi.cast("struct glb_capture_record *", at), index))
            ring.tail = head
        return found

    @property
    def missed(self) -> int:
        """Packets that matched and found their ring full."""
        return sum(self._ring(index).missed for index in range(self._header.rings))


def _capture_record(record: Any, worker: int) -> CaptureRecord:
    at = {lib.GLB_CAPTURE_INGRESS: "ingress", lib.GLB_CAPTURE_EGRESS: "egress", lib.GLB_CAPTURE_DROP: "drop"}
    return CaptureRecord(
        time_ns=record.time_ns, frame=bytes(ffi.buffer(record.data, record.data_len)),
        frame_len=record.frame_len, worker=worker, port=record.port, at=at[record.at],
        verdict=verdict_name(record.verdict), reason=reason_name(record.reason),
        service=record.service, backend=record.backend, hops=record.hops,
    )  # fmt: skip


def _text(value: Any) -> str:
    text: str = ffi.string(value).decode()
    return text


REASONS: tuple[str, ...] = tuple(reason_name(reason) for reason in range(lib.GLB_REASON_COUNT))
FLOW_STATS: tuple[str, ...] = tuple(_text(lib.glb_flow_stat_name(n)) for n in range(lib.GLB_FLOW_STATS))
GUE_VERDICTS: tuple[str, ...] = tuple(
    _text(lib.glb_gue_verdict_name(verdict)) for verdict in range(lib.GLB_GUE_VERDICT_COUNT)
)
