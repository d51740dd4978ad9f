"""Configurations: services, pools and what a director adds; and GLB's JSON read as such."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

from oracle import maglev
from oracle.glbfile import PROTOCOLS, ROWS, backends_of, ports_of
from oracle.rows import Backend, chains

FIELDS = ("src_addr", "dst_addr", "src_port", "dst_port")

ANY = 0  # protocol of a bind

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Bind:
    prefix: IPv4Network | IPv6Network
    protocol: int
    first: int
    last: int

    @classmethod
    def of(cls, prefix: str, protocol: str, first: int, last: int) -> Bind:
        return cls(ip_network(prefix, strict=False), PROTOCOLS.get(protocol, ANY), first, last)

    def takes(self, protocol: int, port: int) -> bool:
        if protocol not in (6, 17):
            return self.protocol == ANY and (self.first, self.last) == (0, 65535)
        return self.protocol in (protocol, ANY) and self.first <= port <= self.last


@dataclass(frozen=True)
class Service:
    name: str
    id: int
    binds: tuple[Bind, ...]
    backends: tuple[Backend, ...]
    hash_key: bytes
    seed: bytes
    hash_fields: tuple[str, ...] = ("src_addr",)
    alt_hash_fields: tuple[str, ...] = ()
    rows: int = ROWS
    hops: int = 2
    policy: str = "ordered"
    algorithm: str = "rendezvous"
    unmatched: str = "punt"
    oversize: str = "icmp"
    source_bits: tuple[int, int] = (32, 128)  # hashed of an IPv4 and of an IPv6 source address
    encapsulation: str = "gue"
    gre_key: int | None = None
    dscp: int = 0  # l3dsr
    backend_port: int | None = None  # nat; None: the packet's own
    outer_dscp: str | int = 0  # or "copy"
    ecn: str = "zero"  # or "copy"
    row_cache: dict[int, list[int]] = field(default_factory=dict, compare=False)

    def row(self, value: int) -> int:
        """Return the row of a flow hash."""
        return value * self.rows >> 64 if self.algorithm == "maglev" else value % self.rows

    def chain(self, row: int) -> list[int]:
        """Return the chain of one row: positions in `backends`."""
        if self.algorithm == "maglev" and not self.row_cache:
            self.row_cache.update(enumerate(maglev.chains(self.seed, self.backends, self.rows, self.hops)))
        if row not in self.row_cache:
            [self.row_cache[row]] = chains(self.seed, self.backends, 1, self.hops, self.policy, first=row)
        return self.row_cache[row]


@dataclass(frozen=True)
class Config:
    services: tuple[Service, ...]

    @cached_property
    def prefixes(self) -> list[IPv4Network | IPv6Network]:
        """Every VIP, the most specific first."""
        found = {bind.prefix for service in self.services for bind in service.binds}
        return sorted(found, key=lambda prefix: -prefix.prefixlen)

    def is_vip(self, address: Address) -> bool:
        return any(address in prefix for prefix in self.prefixes)

    def service(self, address: Address, protocol: int, port: int) -> Service | None:
        """Return the service of the most specific bind: longest prefix, narrowest port range, lower
        first port, a named protocol before any."""
        matches = [
            (-bind.prefix.prefixlen, bind.last - bind.first, bind.first, bind.protocol == ANY, service)
            for service in self.services
            for bind in service.binds
            if address in bind.prefix and bind.takes(protocol, port)
        ]
        return min(matches, key=lambda match: match[:4])[4] if matches else None

    def unmatched(self, address: Address) -> str:
        """Return what the longest VIP around an address does with packets that no service takes."""
        prefix = next(prefix for prefix in self.prefixes if address in prefix)
        return next(s.unmatched for s in self.services if any(bind.prefix == prefix for bind in s.binds))

    def echo_service(self, address: Address) -> Service | None:
        """Return the service that answers echo: of the longest VIP around it, the lowest id."""
        for prefix in self.prefixes:
            if address in prefix:
                here = [s for s in self.services if any(bind.prefix == prefix for bind in s.binds)]
                return min(here, key=lambda service: service.id)
        return None


@dataclass(frozen=True)
class Director:
    source_v4: str
    gateway_mac: str
    local_mac: str
    checksum: str = "zero"
    punt_echo: bool = False
    mtu: int = 0
    filter_mac: bool = False
    strict: bool = False
    source_v6: str = "::"
    prefix_v4: str | None = None  # of outer sources that vary by flow
    prefix_v6: str | None = None
    checksum_v6: str = "computed"

    def prefix(self, version: int) -> IPv4Network | IPv6Network | None:
        text = self.prefix_v4 if version == 4 else self.prefix_v6
        return None if text is None else ip_network(text)


def director_json(director: Director) -> dict[str, Any]:
    """Return its fields; `strict`, which the vectors do without, only where it is on."""
    fields = asdict(director)
    return fields if director.strict else {key: fields[key] for key in fields if key != "strict"}


WRAP_FIELDS = ("encapsulation", "gre_key", "dscp", "backend_port", "outer_dscp", "ecn")


def backend_json(backend: Backend) -> list[Any]:
    weight = [] if backend.weight == 1 else [backend.weight]
    return [backend.address, backend.state, backend.health, *weight]


def service_json(service: Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "id": service.id,
        "binds": [
            [str(bind.prefix), {6: "tcp", 17: "udp"}[bind.protocol], bind.first, bind.last]
            for bind in service.binds
        ],
        "hash_key": service.hash_key.hex(),
        "seed": service.seed.hex(),
        "hash_fields": service.hash_fields,
        "alt_hash_fields": service.alt_hash_fields,
        "rows": service.rows,
        "hops": service.hops,
        "policy": service.policy,
        "backends": [backend_json(b) for b in service.backends],
    } | {
        # what the vectors of frames do without is left out where it is as it always was
        key: getattr(service, key)
        for key in WRAP_FIELDS
        if getattr(service, key) != getattr(Service, key)
    }


def config_from_json(services: Iterable[Mapping[str, Any]]) -> Config:
    """Return what service_json() wrote."""
    return Config(
        tuple(
            Service(
                name=item["name"],
                id=item["id"],
                binds=tuple(Bind.of(*bind) for bind in item["binds"]),
                backends=tuple(Backend(*backend) for backend in item["backends"]),
                hash_key=bytes.fromhex(item["hash_key"]),
                seed=bytes.fromhex(item["seed"]),
                hash_fields=tuple(item["hash_fields"]),
                alt_hash_fields=tuple(item["alt_hash_fields"]),
                rows=item["rows"],
                hops=item["hops"],
                policy=item["policy"],
                **{key: item[key] for key in WRAP_FIELDS if key in item},
            )
            for item in services
        )
    )


def enabled(fields: Mapping[str, bool] | None) -> tuple[str, ...]:
    return tuple(name for name in FIELDS if (fields or {}).get(name) is True)


def from_glb(table: Mapping[str, Any], director: Mapping[str, Any], policy: str) -> Config:
    """Return what GLB's forwarding_table.json and director.json mean; ids are given in document order."""
    return Config(
        tuple(
            Service(
                name=item.get("name", ""),
                id=number,
                binds=tuple(Bind.of(b["ip"], b["proto"], *ports_of(b)) for b in item["binds"]),
                backends=tuple(backends_of(item)),
                hash_key=bytes.fromhex(item["hash_key"]),
                seed=bytes.fromhex(item["seed"]),
                hash_fields=enabled(director.get("hash_fields")) or ("src_addr",),
                alt_hash_fields=enabled(director.get("alt_hash_fields")),
                policy=policy,
            )
            for number, item in enumerate(table["tables"], 1)
        )
    )


def director_from_glb(director: Mapping[str, Any], checksum: str) -> Director:
    return Director(
        source_v4=director["outbound_src_ip"],
        gateway_mac=director["outbound_gateway_mac"],
        local_mac=director["local_mac"],
        checksum=checksum,
        punt_echo=director.get("forward_icmp_ping_responses") is False,
    )
