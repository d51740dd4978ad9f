"""Services of the lab beside `www`: one for each way of carrying packets to a backend.

Says what they are, and what glb-redirect must be told so that backends understand them. They exist in a lab
that was brought up with their encapsulation, and have VIPs of their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from glbpy.lab.encapsulation import Encapsulation

POOL_V4, POOL_V6 = "web", "web6"  # the same backends, by their IPv4 and by their IPv6 addresses
PORT, NAT_PORT = 80, 8080
UDP_PORT, NAT_UDP_PORT = 53, 5353
GRE_KEY, DSCP = 7, 7
# Outer sources of what has no ports, by flow. Nobody owns them, and nobody answers them.
OUTER_PREFIX_V4, OUTER_PREFIX_V6 = "172.16.0.0/16", "100::/64"

IN_IP = (Encapsulation.IPIP, Encapsulation.IP6IP6, Encapsulation.V4_IN_V6, Encapsulation.V6_IN_V4)
TUNNELS = (Encapsulation.GUE, Encapsulation.GRE, *IN_IP)
MARKS = {"outer_dscp": "copy", "ecn": "copy", "decapsulator": "rfc6040"}  # glb-redirect merges them back


class LabService(BaseModel):
    """One service, as `glb lab status --json` lists it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    encapsulation: str
    vips: tuple[str, ...]
    protocol: str
    port: int


@dataclass(frozen=True)
class Extra:
    name: str
    encapsulation: Encapsulation
    number: int  # of its VIPs: their last byte
    pool: str
    families: tuple[int, ...] = (4, 6)  # of its VIPs
    protocol: str = "tcp"
    port: int = PORT
    fields: dict[str, Any] = field(default_factory=dict)  # further ones of the service

    @property
    def vips(self) -> tuple[str, ...]:
        made = {4: f"203.0.113.{self.number}", 6: f"2001:db8:f::{self.number}"}
        return tuple(made[family] for family in self.families)

    def describe(self) -> LabService:
        return LabService(
            name=self.name,
            encapsulation=self.encapsulation,
            vips=self.vips,
            protocol=self.protocol,
            port=self.port,
        )

    def document(self) -> dict[str, Any]:
        """The service as for `glb apply`."""
        whole = {
            "name": self.name,
            "vips": list(self.vips),
            "protocol": self.protocol,
            "ports": [self.port],
            "pool": self.pool,
            "hops": 2 if self.encapsulation == Encapsulation.GUE else 1,
            "hash_fields": ["src_addr", "dst_addr", "src_port", "dst_port"],
            "encapsulation": str(self.encapsulation),
        }
        return whole | (MARKS if self.encapsulation in TUNNELS else {}) | self.fields

    def redirect_options(self) -> list[str]:
        """What glb-redirect needs on each backend, beside --decap and --allow."""
        if self.encapsulation == Encapsulation.L3DSR:
            return ["--l3dsr", f"{self.fields['dscp']}={self.vips[0]}"]
        if self.encapsulation == Encapsulation.NAT:
            return ["--nat", f"{self.protocol}:{self.fields['backend_port']}=[{self.vips[0]}]:{self.port}"]
        return []


def _nat(name: str, family: int, pool: str, udp: bool) -> Extra:
    protocol, port, backend_port = ("udp", UDP_PORT, NAT_UDP_PORT) if udp else ("tcp", PORT, NAT_PORT)
    more = {"backend_port": backend_port}
    return Extra(name, Encapsulation.NAT, 29, pool, (family,), protocol, port, more)


EXTRAS = (
    Extra("gue-v6", Encapsulation.GUE, 20, POOL_V6),
    Extra("gre", Encapsulation.GRE, 21, POOL_V4, fields={"gre_key": GRE_KEY}),
    Extra("gre-v6", Encapsulation.GRE, 22, POOL_V6, fields={"gre_key": GRE_KEY}),
    Extra("ipip", Encapsulation.IPIP, 23, POOL_V4, (4,)),
    Extra("ip6ip6", Encapsulation.IP6IP6, 24, POOL_V6, (6,)),
    Extra("4in6", Encapsulation.V4_IN_V6, 25, POOL_V6, (4,)),
    Extra("6in4", Encapsulation.V6_IN_V4, 26, POOL_V4, (6,)),
    Extra("l2dsr", Encapsulation.L2DSR, 27, POOL_V4),
    Extra("l3dsr", Encapsulation.L3DSR, 28, POOL_V4, (4,), fields={"dscp": DSCP}),
    Extra("l3dsr-v6", Encapsulation.L3DSR, 28, POOL_V6, (6,), fields={"dscp": DSCP}),
    _nat("nat", 4, POOL_V4, udp=False),
    _nat("nat-v6", 6, POOL_V6, udp=False),
    _nat("nat-udp", 4, POOL_V4, udp=True),
    _nat("nat-udp-v6", 6, POOL_V6, udp=True),
)


def extras(chosen: Iterable[str]) -> list[Extra]:
    """The services of the encapsulations chosen, in order of their VIPs."""
    names = set(chosen)
    return [each for each in EXTRAS if each.encapsulation in names or Encapsulation.ALL in names]


def loopback_vips(services: Iterable[Extra]) -> list[str]:
    """The VIPs that backends must have themselves: all but those whose packets come for another address."""
    return sorted({vip for each in services if each.encapsulation != Encapsulation.NAT for vip in each.vips})


def redirect_options(services: Iterable[Extra]) -> list[str]:
    """What glb-redirect is told besides whom to allow."""
    chosen = list(services)
    kinds = {each.encapsulation for each in chosen}
    options = [option for each in chosen for option in each.redirect_options()]
    if Encapsulation.GRE in kinds:
        options += ["--decap", "gre", "--gre-key", str(GRE_KEY)]
    if kinds & set(IN_IP):
        options += ["--decap", "ipip"]
    return options


def uses_udp(services: Iterable[Extra]) -> bool:
    return any(each.protocol == "udp" for each in services)
