"""The configuration: pools, backends, health checks and services, as files, API and command line have them.

The only schema. Values come out canonical (addresses compressed, ranges as ``"lo-hi"``, hex in lower case),
so that equal configurations are equal objects. Whether references hold is judged on the whole
state, by :func:`check_whole`; a document alone may name pools that the store already has.
"""

import ipaddress
import math
import re
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from glbpy import encapsulation as encapsulations
from glbpy.errors import DocumentError, FieldError

NAME_PATTERN = r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?\Z"
HOPS_MAX = 8  # GLB_HOPS_MAX; tests compare it with the library
TABLE_SIZE_MIN, TABLE_SIZE_MAX = 1 << 8, 1 << 20
MAGLEV_SIZE_MIN, MAGLEV_SIZE_DEFAULT, MAGLEV_HOPS_MAX = 251, 65537, 2
POOL_BACKENDS_MAX = 65534
QUIC_ID_MAX = 19  # bytes of a server id and a nonce
UDP_TIMEOUT_MAX = 32767  # GLB_FLOW_TIMEOUT_MAX
HASH_FIELDS = ("src_addr", "dst_addr", "src_port", "dst_port")  # the order in which they are hashed

Sub = tuple[int | str, ...]
M = TypeVar("M", bound=BaseModel)


def _reject(title: str, wrong: Iterable[tuple[Sub, str]]) -> None:
    """Raise one validation error for all of ``wrong``: where below the validated value, and what."""
    lines = [
        InitErrorDetails(type=PydanticCustomError("glbpy", "{text}", {"text": text}), loc=loc, input=None)
        for loc, text in wrong
    ]
    if lines:
        raise ValidationError.from_exception_data(title, lines)


def _duplicates(values: Iterable[Any], what: str, field: str | None = None) -> list[tuple[Sub, str]]:
    seen: dict[Any, int] = {}
    wrong: list[tuple[Sub, str]] = []
    for position, value in enumerate(values):
        if value in seen:
            loc: Sub = (position, field) if field else (position,)
            wrong.append((loc, f"{what} {value} is already given at position {seen[value]}"))
        seen.setdefault(value, position)
    return wrong


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv4 or IPv6 address") from None
    return _usable(address, text)


def _usable(address: ipaddress.IPv4Address | ipaddress.IPv6Address, text: str) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"{text} has a zone; give an address that routes without one")
        if address.ipv4_mapped is not None:
            raise ValueError(f"{text} is an IPv4 address in IPv6 form; write {address.ipv4_mapped}")
    if address.is_multicast or address.is_unspecified:
        raise ValueError(f"{text} is not a unicast address")
    return str(address)


def _vip(text: str) -> str:
    address, slash, bits = text.partition("/")
    if not slash:
        return _address(text)
    if not bits.isascii() or not bits.isdigit():
        raise ValueError(f"{text!r}: write a prefix as address/bits")
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv4 or IPv6 prefix") from None
    if str(ipaddress.ip_address(address)) != str(network.network_address):
        raise ValueError(f"{text} has bits set behind the prefix; write {network} or {address}")
    if network.is_multicast:
        raise ValueError(f"{text} is not a unicast prefix")
    return _usable(network.network_address, text) if network.num_addresses == 1 else str(network)


def parse_range(value: int | str) -> tuple[int, int]:
    """Return (first, last) of a canonical port or status: 80, "8000-8099" or "any"."""
    if isinstance(value, int):
        return value, value
    if value == "any":
        return 0, 65535
    first, _, last = value.partition("-")
    return int(first), int(last)


def _range(value: Any, what: str, low: int, high: int) -> int | str:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}(-[0-9]{1,5})?", value):
        first, _, last = value.partition("-")
        first_number, last_number = int(first), int(last or first)
    elif isinstance(value, int) and not isinstance(value, bool):
        first_number = last_number = value
    else:
        raise ValueError(f'{value!r} is neither a {what} nor a range like "{low}-{high}"')
    if not (low <= first_number <= high and low <= last_number <= high):
        raise ValueError(f"{value!r} is not within {low}..{high}")
    if first_number > last_number:
        raise ValueError(f"{value!r} ends before it starts; write {last_number}-{first_number}")
    return first_number if first_number == last_number else f"{first_number}-{last_number}"


def _port(value: Any) -> int | str:
    if value == "any":
        return "any"
    return _range(value, "port", 1, 65535)


def _status(value: Any) -> int | str:
    return _range(value, "status", 100, 599)


def _hex(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{32}", text):
        raise ValueError("must be 32 hex digits (16 bytes)")
    return text.lower()


def _secret(text: str) -> str:
    if len(text) % 2 or not re.fullmatch(r"[0-9a-fA-F]{32,128}", text):
        raise ValueError("must be 32 to 128 hex digits (16 to 64 bytes), two to a byte")
    return text.lower()


def _name(text: str) -> str:
    if not re.match(NAME_PATTERN, text):
        raise ValueError(
            f"{text!r} is not a name: 1 to 63 of a-z 0-9 . _ -, the first and the last one of a-z 0-9"
        )
    return text


Name = Annotated[
    str,
    AfterValidator(_name),
    Field(examples=["web"], json_schema_extra={"pattern": NAME_PATTERN.replace(r"\Z", "$")}),
]
Address = Annotated[str, AfterValidator(_address), Field(examples=["10.0.0.11", "2001:db8:1::11"])]
Vip = Annotated[str, AfterValidator(_vip), Field(examples=["203.0.113.10", "2001:db8::/64"])]
Port = Annotated[int | str, BeforeValidator(_port), Field(examples=[443, "8000-8099", "any"])]
Status = Annotated[int | str, BeforeValidator(_status), Field(examples=[200, "200-299"])]
Hex16 = Annotated[str, AfterValidator(_hex)]


def _switch(value: Any) -> Any:
    """YAML 1.1 reads on and off as true and false."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _outer_dscp(value: Any) -> Any:
    if value == "copy" or (type(value) is int and 0 <= value <= 63):
        return value
    raise ValueError(f'{value!r} is neither a DSCP, 0 to 63, nor "copy"')


OuterDscp = Annotated[int | Literal["copy"], BeforeValidator(_outer_dscp)]
FlowCache = Annotated[Literal["off", "on"], BeforeValidator(_switch)]


class State(StrEnum):
    """What the operator wants of a backend."""

    ACTIVE = "active"
    FILLING = "filling"
    DRAINING = "draining"
    INACTIVE = "inactive"


class Health(StrEnum):
    """What the health check observed. ``unknown`` counts as healthy."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Model(BaseModel):
    """Base of every model: immutable, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Backend(Model):
    """A server behind a pool. Its address receives encapsulated packets, and its health check."""

    name: Name
    address: Address
    weight: Annotated[StrictInt, Field(ge=0, le=65535)] = Field(
        default=1,
        description="Its share of new connections, relative to the pool's other backends; 0 = no new ones.",
    )
    state: State | None = Field(
        default=None, description="Left out: it keeps the state that it has; a new backend is active."
    )


class HealthCheck(Model):
    """How a pool's backends are checked. A failure is found within fall * interval + timeout."""

    type: Literal["tcp", "http"]
    port: Annotated[StrictInt, Field(ge=1, le=65535)]
    path: str | None = Field(default=None, description="http only; default /")
    host: str | None = Field(default=None, description="http only: the Host header; default the address")
    expected_status: tuple[Status, ...] | None = Field(
        default=None, description='http only; default ["200-299"]'
    )
    via: Literal["direct", "tunnel"] = Field(
        default="direct",
        description="tunnel: each check also begins a connection to the VIPs of the pool's TCP services in "
        "gue, wrapped as a director sends it: so a glb-redirect that is detached or broken is found.",
    )
    interval_ms: Annotated[StrictInt, Field(ge=50, le=3_600_000)] = 2000
    timeout_ms: Annotated[StrictInt, Field(ge=10, le=3_600_000)] = Field(
        default=1000, description="At most interval_ms; default 1000, or interval_ms where that is less."
    )
    rise: Annotated[StrictInt, Field(ge=1, le=100)] = 2
    fall: Annotated[StrictInt, Field(ge=1, le=100)] = 3

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        """Fill in what depends on another field. Wrong types are left for the fields to refuse."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        interval = data.get("interval_ms")
        if data.get("timeout_ms") is None and type(interval) is int and 50 <= interval < 1000:
            data["timeout_ms"] = interval
        if data.get("type") == "http":
            if data.get("path") is None:
                data["path"] = "/"
            if data.get("expected_status") is None:
                data["expected_status"] = ["200-299"]
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wrong: list[tuple[Sub, str]] = []
        if self.timeout_ms > self.interval_ms:
            wrong.append((("timeout_ms",), f"must not exceed interval_ms, {self.interval_ms}"))
        if self.type == "tcp":
            wrong += [
                ((field,), "belongs to a check of type http only")
                for field in ("path", "host", "expected_status")
                if getattr(self, field) is not None
            ]
        else:
            if not re.fullmatch(r"/[!-~]*", self.path or ""):
                wrong.append((("path",), "must start with / and have neither spaces nor control characters"))
            if self.host is not None and not re.fullmatch(r"[!-~]{1,255}", self.host):
                wrong.append((("host",), "must be 1 to 255 characters without spaces"))
            if not self.expected_status:
                wrong.append((("expected_status",), "must have at least one status"))
        _reject("HealthCheck", wrong)
        return self


class ConnectionReport(Model):
    """`glb-redirect report` runs on the pool's backends: a drain can be seen to its end."""

    port: Annotated[StrictInt, Field(ge=1, le=65535)] = Field(default=19524, description="UDP, on a backend.")


class Pool(Model):
    """Backends that serve the same thing, with one health check."""

    name: Name
    backends: tuple[Backend, ...] = Field(default=(), max_length=POOL_BACKENDS_MAX)
    health_check: HealthCheck | None = Field(
        default=None, description="Left out: every backend counts as healthy."
    )
    report: ConnectionReport | None = Field(
        default=None, description="Have draining backends say how many connections they still have."
    )

    @field_validator("backends")
    @classmethod
    def _unique(cls, backends: tuple[Backend, ...]) -> tuple[Backend, ...]:
        wrong = _duplicates((b.name for b in backends), "name", "name")
        wrong += _duplicates((b.address for b in backends), "address", "address")
        _reject("Pool", wrong)
        return backends


def _nearest_prime(number: int) -> int:
    """Return the prime nearest to ``number`` that a maglev table may have as its size; of two, the larger."""
    number = min(max(number, MAGLEV_SIZE_MIN), TABLE_SIZE_MAX)
    for distance in range(TABLE_SIZE_MAX):
        for candidate in (number + distance, number - distance):
            if MAGLEV_SIZE_MIN <= candidate <= TABLE_SIZE_MAX and all(
                candidate % divisor for divisor in range(2, math.isqrt(candidate) + 1)
            ):
                return candidate
    raise AssertionError("there are primes")


class SourceAffinity(Model):
    """Clients whose addresses begin alike go to the same backend, from whatever port."""

    v4_bits: Annotated[StrictInt, Field(ge=1, le=32)] = Field(
        default=32, description="Leading bits of an IPv4 client's address that count."
    )
    v6_bits: Annotated[StrictInt, Field(ge=1, le=128)] = Field(
        default=64, description="Of an IPv6 client's. The default is the network that one client usually has."
    )


class QuicConfiguration(Model):
    """A configuration of QUIC-LB: how connection ids that begin with its id are read."""

    config_id: Annotated[StrictInt, Field(ge=0, le=6)] = Field(
        description="The first three bits of a connection id; 7 is for ids that name no server."
    )
    server_id_length: Annotated[StrictInt, Field(ge=1, le=15)] = Field(default=3, description="Bytes.")
    nonce_length: Annotated[StrictInt, Field(ge=4, le=18)] = Field(
        default=13,
        description="Bytes. With the server id at most 19; if together 16, one AES block does.",
    )
    encrypted: bool = Field(default=True, description="false: everybody sees which server an id is of.")
    key: Hex16 | None = Field(default=None, description="Of AES-128, 32 hex digits; default from secret.")
    server_ids: dict[Name, str] | None = Field(
        default=None,
        description="Server ids by backend, hex digits. Left out: given to all. A backend that is not "
        "listed has none, and its connections go by address and port.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        wrong: list[tuple[Sub, str]] = []
        both = self.server_id_length + self.nonce_length
        if both > QUIC_ID_MAX:
            most = QUIC_ID_MAX - self.server_id_length
            text = f"at most {most} with a server id of {self.server_id_length}"
            wrong.append((("nonce_length",), f"{text}: a connection id has 20 bytes, one in front of both"))
        if self.key is not None and not self.encrypted:
            wrong.append((("key",), "belongs to a configuration that is encrypted: leave it out"))
        for name, text in (self.server_ids or {}).items():
            if not re.fullmatch(f"[0-9a-f]{{{2 * self.server_id_length}}}", text):
                needed = f"{2 * self.server_id_length} hex digits in lower case"
                wrong.append((("server_ids", name), f"{text!r} is not {needed}, as server_id_length says"))
        owners: dict[str, str] = {}
        for name, text in (self.server_ids or {}).items():
            if owners.setdefault(text, name) != name:
                wrong.append((("server_ids", name), f"{text} is the server id of {owners[text]} already"))
        _reject("QuicConfiguration", wrong)
        return self


class Quic(Model):
    """QUIC-LB for a service: packets go to the backend that chose their connection id."""

    configurations: tuple[QuicConfiguration, ...] = Field(
        default=(QuicConfiguration(config_id=0),), min_length=1, max_length=7
    )
    issue: Annotated[StrictInt, Field(ge=0, le=6)] = Field(
        default=0,
        description="Which configuration servers make new connection ids by; left out: the first listed.",
    )

    @field_validator("configurations")
    @classmethod
    def _unique(cls, found: tuple[QuicConfiguration, ...]) -> tuple[QuicConfiguration, ...]:
        _reject("Quic", _duplicates((c.config_id for c in found), "configuration", "config_id"))
        return found

    @model_validator(mode="before")
    @classmethod
    def _default_issue(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("issue") is None:
            given = data.get("configurations")
            first = given[0] if isinstance(given, list | tuple) and given else None
            number = first.get("config_id") if isinstance(first, dict) else None
            return {**data, "issue": number if type(number) is int and 0 <= number <= 6 else 0}
        return data

    @model_validator(mode="after")
    def _issues_what_there_is(self) -> Self:
        known = [configuration.config_id for configuration in self.configurations]
        if self.issue not in known:
            _reject("Quic", [(("issue",), f"there is no configuration {self.issue}, only {known}")])
        return self


def _quic(value: Any) -> Any:
    """``quic: true`` is one configuration, all defaults."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


LIMIT_MAX = 1_000_000_000  # GLB_LIMIT_MAX; tests compare it with the library
Limit = Annotated[StrictInt, Field(ge=1, le=LIMIT_MAX)]


class Limits(Model):
    """How much each director lets through to a service; what is above is dropped and counted."""

    packets_per_second: Limit | None = Field(default=None, description="Left out: any number.")
    packets_burst: Limit | None = Field(
        default=None, description="At once; left out: as many as in 0.1 s, at least 32."
    )
    new_flows_per_second: Limit | None = Field(
        default=None,
        description="TCP connections that begin; with flow_cache, flows that the director does not know yet.",
    )
    new_flows_burst: Limit | None = Field(default=None, description="As packets_burst.")

    @model_validator(mode="after")
    def _bursts_have_rates(self) -> Self:
        wrong: list[tuple[Sub, str]] = []
        for what in ("packets", "new_flows"):
            if getattr(self, f"{what}_burst") is not None and getattr(self, f"{what}_per_second") is None:
                wrong.append(((f"{what}_burst",), f"needs {what}_per_second"))
        if self.packets_per_second is None and self.new_flows_per_second is None:
            wrong.append(((), "limits nothing: give packets_per_second or new_flows_per_second"))
        _reject("Limits", wrong)
        return self


def burst_of(rate: int | None, burst: int | None) -> int:
    """Return what may pass at once; 0 where there is no limit."""
    return 0 if rate is None else burst or max(rate // 10, 32)


class Service(Model):
    """VIPs, a protocol and ports, and the pool that they lead to."""

    name: Name
    vips: tuple[Vip, ...] = Field(min_length=1, max_length=1024)
    protocol: Literal["tcp", "udp", "any"] = Field(
        description='"any": TCP and UDP, and with ports ["any"] every other IP protocol, too.'
    )
    ports: tuple[Port, ...] = Field(min_length=1, max_length=1024)
    pool: Name
    algorithm: Literal["rendezvous", "maglev"] = Field(
        default="rendezvous",
        description="rendezvous: chains of hops, and no row moves between two backends that stay. "
        "maglev: shares that are equal to a row, and a few rows that move at every change.",
    )
    table_size: StrictInt = Field(
        default=65536,
        description="Rows; a power of two, 256 to 1048576. "
        "With maglev a prime, 251 to 1048573; left out: 65537.",
    )
    hops: Annotated[StrictInt, Field(ge=1, le=HOPS_MAX)] = Field(
        default=2, description="Backends in a row's own chain; with maglev 1 or 2."
    )
    hash_fields: tuple[Literal["src_addr", "dst_addr", "src_port", "dst_port"], ...] = Field(
        default=("src_addr",), min_length=1
    )
    source_affinity: SourceAffinity | None = Field(
        default=None, description="Hash leading bits of the source address; with hash_fields src_addr only."
    )
    encapsulation: Literal["gue", "gre", "ipip", "ip6ip6", "4in6", "6in4", "l2dsr", "l3dsr", "nat"] = Field(
        default="gue",
        description="How packets get to a backend. Only gue names further hops, and so has a second chance.",
    )
    gre_key: Annotated[StrictInt, Field(ge=0, le=0xFFFFFFFF)] | None = Field(
        default=None, description="With gre: the key in its header; left out: a header without one."
    )
    dscp: Annotated[StrictInt, Field(ge=1, le=63)] | None = Field(
        default=None, description="With l3dsr: stands for the VIP in the packets that backends get."
    )
    backend_port: Annotated[StrictInt, Field(ge=1, le=65535)] | None = Field(
        default=None, description="With nat: the port on the backends; left out: the client's packet's own."
    )
    outer_dscp: OuterDscp = Field(
        default=0, description="DSCP of the outer header: a number, or copy, the client's packet's own."
    )
    ecn: Literal["zero", "copy"] = Field(
        default="zero", description="ECN of the outer header: none, or copy, the client's packet's own."
    )
    decapsulator: Literal["plain", "rfc6040"] = Field(
        default="plain",
        description="rfc6040: what ends the tunnel on backends merges congestion marks of the outer header, "
        "as glb-redirect does; outer_dscp and ecn need it.",
    )
    flow_cache: FlowCache = Field(
        default="off",
        description="on: directors remember which backend each flow was sent to: of use for services without "
        "second chance (one hop, UDP), and where backends change faster than chains keep up with.",
    )
    udp_timeout_seconds: Annotated[StrictInt, Field(ge=1, le=UDP_TIMEOUT_MAX)] | None = Field(
        default=None,
        description="With flow_cache: how long a UDP flow is remembered after its last packet. Left out: as "
        "long as the director's flow_cache.udp_seconds says.",
    )
    quic: Annotated[Quic | None, BeforeValidator(_quic)] = Field(
        default=None,
        description="For UDP: QUIC packets go to the backend that chose their connection id, by QUIC-LB. "
        "true: one configuration, with defaults. hash_fields are all four then, unless they are given.",
    )
    fragments: Literal["drop", "follow"] = Field(
        default="drop",
        description="follow: fragments of a datagram behind the first one, which have no ports, go where the "
        "first one went. drop: they are lost, and the datagram with them.",
    )
    settle_seconds: Annotated[StrictInt, Field(ge=0, le=604_800)] = Field(
        default=3600,
        description="How long, after a change, backends stay appended to chains that they would leave, so "
        "that connections to them go on; 0 = not at all. Left out: 3600, with policy glb 0. For TCP in gue.",
    )
    oversize: Literal["icmp", "fragment", "drop"] = Field(
        default="icmp",
        description="What becomes of packets that with the outer header exceed the MTU: the client is told "
        "what fits, IPv4 packets without DF are fragmented (others as icmp), or all are dropped.",
    )
    policy: Literal["ordered", "glb"] = "ordered"
    unmatched: Literal["punt", "drop", "reject"] = Field(
        default="punt",
        description="What becomes of packets to these VIPs that no service takes: left to the kernel, "
        "dropped, or answered with a TCP reset or port unreachable. Services of one VIP must agree.",
    )
    limits: Limits | None = Field(
        default=None, description="What each director lets through, at most; left out: any number of packets."
    )
    block: Name | None = Field(
        default=None, description="The source list whose addresses may not reach it; dropped and counted."
    )
    allow: Name | None = Field(
        default=None, description="The source list whose addresses alone may reach it; left out: all may."
    )
    seed: Hex16 | None = Field(default=None, description="Row seed, 32 hex digits; default from secret.")
    hash_key: Hex16 | None = Field(default=None, description="Flow key, 32 hex digits; default from secret.")

    @field_validator("vips", "ports", "hash_fields")
    @classmethod
    def _unique(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        _reject("Service", _duplicates(values, "value"))
        return values

    @field_validator("hash_fields")
    @classmethod
    def _ordered(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(fields, key=HASH_FIELDS.index))

    @model_validator(mode="before")
    @classmethod
    def _default_size(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("algorithm") == "maglev" and data.get("table_size") is None:
            return {**data, "table_size": MAGLEV_SIZE_DEFAULT}
        return data

    @model_validator(mode="before")
    @classmethod
    def _default_quic_hashing(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("quic") in (None, False):
            return data
        if data.get("hash_fields") is None and data.get("source_affinity") is None:
            return {**data, "hash_fields": list(HASH_FIELDS)}
        return data

    @model_validator(mode="after")
    def _quic_is_udp(self) -> Self:
        wrong: list[tuple[Sub, str]] = []
        if self.quic is not None and self.protocol != "udp":
            wrong.append((("quic",), "needs protocol udp; TCP of the same VIP is another service's"))
        if self.quic is not None and self.policy == "glb":
            wrong.append((("quic",), "needs policy ordered: GLB's directors know no connection ids"))
        _reject("Service", wrong)
        return self

    @model_validator(mode="before")
    @classmethod
    def _default_settling(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("policy") == "glb" and data.get("settle_seconds") is None:
            return {**data, "settle_seconds": 0}
        return data

    @model_validator(mode="after")
    def _fits_the_algorithm(self) -> Self:
        wrong: list[tuple[Sub, str]] = []
        size = self.table_size
        if self.algorithm == "maglev":
            near = _nearest_prime(size)
            if near != size:
                text = f"maglev needs a prime from {MAGLEV_SIZE_MIN} to {TABLE_SIZE_MAX}"
                wrong.append((("table_size",), f"{text}; {near} is the nearest"))
            if self.hops > MAGLEV_HOPS_MAX:
                wrong.append((("hops",), "must be 1 or 2 with maglev, which gives a row no further ones"))
            if self.policy != "ordered":
                wrong.append((("policy",), "must be ordered with maglev: GLB has rendezvous rows"))
        elif not TABLE_SIZE_MIN <= size <= TABLE_SIZE_MAX or size & (size - 1):
            text = f"must be a power of two from {TABLE_SIZE_MIN} to {TABLE_SIZE_MAX}"
            wrong.append((("table_size",), text))
        _reject("Service", wrong)
        return self

    @model_validator(mode="after")
    def _affinity_is_by_source(self) -> Self:
        if self.source_affinity is not None and self.hash_fields != ("src_addr",):
            _reject("Service", [(("hash_fields",), 'source_affinity needs ["src_addr"]: leave it out')])
        return self

    @model_validator(mode="after")
    def _fits_the_encapsulation(self) -> Self:
        _reject("Service", encapsulations.service_faults(self))
        return self

    @model_validator(mode="after")
    def _remembers_udp(self) -> Self:
        wrong: list[tuple[Sub, str]] = []
        if self.udp_timeout_seconds is not None:
            if self.flow_cache == "off":
                wrong.append((("udp_timeout_seconds",), "needs flow_cache: on, which remembers flows"))
            if self.protocol == "tcp":
                wrong.append((("udp_timeout_seconds",), "belongs to services for UDP: protocol udp or any"))
        _reject("Service", wrong)
        return self

    @model_validator(mode="after")
    def _new_flows_can_be_told(self) -> Self:
        if (
            self.limits is not None
            and self.limits.new_flows_per_second is not None
            and self.protocol == "udp"
            and self.flow_cache == "off"
        ):
            text = "directors know which UDP packets begin a flow with flow_cache only: switch that on"
            _reject("Service", [(("limits", "new_flows_per_second"), text)])
        return self

    @field_validator("ports")
    @classmethod
    def _any_stands_alone(cls, ports: tuple[int | str, ...]) -> tuple[int | str, ...]:
        if "any" in ports and len(ports) > 1:
            raise ValueError('"any" has all ports already: leave the others out')
        return ports

    @model_validator(mode="after")
    def _glb_has_two_hops(self) -> Self:
        wrong: list[tuple[Sub, str]] = []
        if self.policy == "glb" and self.hops != 2:
            wrong.append((("hops",), "policy glb needs exactly 2 hops"))
        if self.policy == "glb" and self.settle_seconds != 0:
            wrong.append((("settle_seconds",), "must be 0 with policy glb: GLB's rows do not remember"))
        if self.policy == "glb" and self.protocol == "any":
            wrong.append((("protocol",), "policy glb takes tcp or udp, as GLB's directors do"))
        _reject("Service", wrong)
        return self


class Document(Model):
    """What ``glb apply -f`` takes: resources to create or replace. Others are left alone."""

    pools: tuple[Pool, ...] = ()
    services: tuple[Service, ...] = ()
    secret: Annotated[str, AfterValidator(_secret)] | None = Field(
        default=None,
        description="Cluster secret, 32 to 128 hex digits. Offline tools without one use 16 zero bytes.",
    )

    @field_validator("pools", "services")
    @classmethod
    def _unique(cls, resources: tuple[Any, ...]) -> tuple[Any, ...]:
        _reject("Document", _duplicates((r.name for r in resources), "name", "name"))
        return resources

    def pool(self, name: str) -> Pool | None:
        return next((pool for pool in self.pools if pool.name == name), None)

    def service(self, name: str) -> Service | None:
        return next((service for service in self.services if service.name == name), None)


def pointer(location: Iterable[int | str]) -> str:
    """Return the JSON Pointer (RFC 6901) of a location: ("pools", 0) is "/pools/0"."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def field_errors(error: ValidationError) -> list[FieldError]:
    """Return pydantic's errors as pointers and plain sentences."""
    found = []
    items = error.errors(include_url=False)
    for item in items:
        inside = len(item["loc"])
        if item["type"] == "too_short" and any(
            other["loc"][:inside] == item["loc"] and len(other["loc"]) > inside for other in items
        ):
            continue  # it is short only because its members were refused, each with an error of its own
        detail = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            detail = "there is no such field"
        elif item["type"] == "missing":
            detail = "this field is required"
        found.append(FieldError(pointer(item["loc"]), detail))
    return found


def parse(model: type[M], data: Any, source: str = "") -> M:
    """Validate plain data (from JSON or YAML) as ``model``. Raises DocumentError with every wrong field."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise DocumentError(field_errors(error), source) from None


def _equal_weights(pool: Pool) -> bool:
    weights = {backend.weight for backend in pool.backends}
    return len(weights) <= 1 and 0 not in weights


def check_whole(document: Document, sent: Mapping[str, str] | None = None) -> None:
    """Check what needs the whole state: references, policy glb, encapsulations, binds that two claim.

    Overlaps are fine (the most specific wins); exact duplicates are not. Raises DocumentError. ``sent``
    has the services that a writer sent and their JSON Pointers in what it sent: the fault is theirs, and
    pointers go there. Without it they go into ``document``.
    """
    wrong: list[FieldError] = []
    pools = {pool.name: pool for pool in document.pools}
    versions = {pool.name: encapsulations.versions(pool) for pool in document.pools}
    claimed: dict[tuple[str, str, int | str], str] = {}
    unmatched: dict[str, Service] = {}
    places = {service.name: f"/services/{index}" for index, service in enumerate(document.services)}
    sent = places if sent is None else sent
    order = sorted(document.services, key=lambda service: service.name in sent)
    for service in order:
        place = sent.get(service.name, places[service.name])
        if service.pool not in pools:
            wrong.append(FieldError(f"{place}/pool", f"there is no pool {service.pool}"))
        elif service.policy == "glb" and not _equal_weights(pools[service.pool]):
            text = f"GLB knows no weights: give the backends of pool {service.pool} equal ones above 0"
            wrong.append(FieldError(f"{place}/policy", text))
        else:
            faults = encapsulations.pool_faults(service, versions[service.pool])
            wrong += [FieldError(place + pointer(where), text) for where, text in faults]
        for position, vip in enumerate(service.vips):
            first = unmatched.setdefault(vip, service)
            if first.unmatched != service.unmatched:
                text = f"service {first.name} has {vip}, too, with {first.unmatched}: give both the same"
                wrong.append(FieldError(f"{place}/unmatched", text))
            for port in service.ports:
                owner = claimed.setdefault((vip, service.protocol, port), service.name)
                if owner != service.name:
                    text = f"{vip} {service.protocol} {port} already belongs to service {owner}"
                    wrong.append(FieldError(f"{place}/vips/{position}", text))
    for service, (where, text) in encapsulations.shared_faults(document, order):
        wrong.append(FieldError(sent.get(service.name, places[service.name]) + pointer(where), text))
    if wrong:
        raise DocumentError(wrong)


def lists_of(service: Service) -> dict[str, str]:
    """Return the source lists that a service names, by field."""
    named = {"block": service.block, "allow": service.allow}
    return {field: name for field, name in named.items() if name is not None}


def check_lists(document: Document, known: Collection[str], sent: Mapping[str, str] | None = None) -> None:
    """Check that the source lists that services name are ``known``. ``sent`` as for check_whole()."""
    wrong = []
    for index, service in enumerate(document.services):
        place = (sent or {}).get(service.name, f"/services/{index}")
        for field, name in lists_of(service).items():
            if name not in known:
                text = f"there is no list {name}; make it first: glb list put {name} FILE"
                wrong.append(FieldError(f"{place}/{field}", text))
    if wrong:
        raise DocumentError(wrong)
