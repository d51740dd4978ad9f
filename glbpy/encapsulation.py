"""What each encapsulation asks of a service: which fields it has, which VIPs and backends it carries.

The rules that docs/wire/encapsulations.md states, as sentences for the people who write configurations. The
library has those that its packet path rests on once more.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glbpy.models import Document, Pool, Service

Wrong = tuple[tuple[int | str, ...], str]  # where in the service, and what


@dataclass(frozen=True)
class Rule:
    vips: tuple[int, ...] = (4, 6)  # IP versions
    backends: tuple[int, ...] = (4, 6)
    outer: bool = True  # there is an outer IP header
    fields: tuple[str, ...] = ()  # of its own


RULES = {
    "gue": Rule(),
    "gre": Rule(fields=("gre_key",)),
    "ipip": Rule(vips=(4,), backends=(4,)),
    "ip6ip6": Rule(vips=(6,), backends=(6,)),
    "4in6": Rule(vips=(4,), backends=(6,)),
    "6in4": Rule(vips=(6,), backends=(4,)),
    "l2dsr": Rule(outer=False),
    "l3dsr": Rule(outer=False, fields=("dscp",)),
    "nat": Rule(outer=False, fields=("backend_port",)),
}
REWRITES = ("l3dsr", "nat")  # they change the client's packet, so VIP and backend are of one family


def _version(address: str) -> int:
    return 6 if ":" in address else 4


# ---- one service ----


def service_faults(service: "Service") -> list[Wrong]:
    """Return what is wrong with a service's encapsulation, whatever its pool."""
    kind, rule = service.encapsulation, RULES[service.encapsulation]
    wrong: list[Wrong] = [
        ((field,), f"belongs to encapsulation {owner} only")
        for owner, other in RULES.items()
        for field in other.fields
        if owner != kind and getattr(service, field) is not None
    ]
    for position, vip in enumerate(service.vips):
        if _version(vip) not in rule.vips:
            text = f"encapsulation {kind} carries IPv{rule.vips[0]} packets only: {_alternatives(vip)}"
            wrong.append((("vips", position), text))
    if service.policy == "glb" and kind != "gue":
        wrong.append((("encapsulation",), "must be gue with policy glb: GLB's directors know no other"))
    return wrong + _outer_faults(service) + (_rewrite_faults(service) if kind in REWRITES else [])


def _alternatives(vip: str) -> str:
    version = _version(vip)
    fitting = [kind for kind, rule in RULES.items() if version in rule.vips]
    return f"for {vip} use one of {', '.join(fitting)}"


def _outer_faults(service: "Service") -> list[Wrong]:
    asked = [
        field for field, default in (("outer_dscp", 0), ("ecn", "zero")) if getattr(service, field) != default
    ]
    if service.decapsulator != "plain" and not RULES[service.encapsulation].outer:
        asked.append("decapsulator")
    if not RULES[service.encapsulation].outer:
        text = f"encapsulation {service.encapsulation} has no outer header: leave it out"
        return [((field,), text) for field in asked]
    if service.decapsulator == "rfc6040":
        return []
    text = (
        "needs backends that merge congestion marks when they decapsulate, or marks are lost: glb-redirect "
        "and the kernel's own tunnels do; then say decapsulator: rfc6040"
    )
    return [((field,), text) for field in asked]


def _rewrite_faults(service: "Service") -> list[Wrong]:
    kind = service.encapsulation
    wrong: list[Wrong] = []
    if service.protocol == "any":
        text = f"must be tcp or udp: {kind} rewrites checksums, and knows no others"
        wrong.append((("protocol",), text))
    if len(service.vips) > 1:
        text = f"{kind} leaves no room for a second VIP, since backends could not tell them apart"
        wrong.append((("vips", 1), f"{text}: make it a service of its own"))
    elif "/" in service.vips[0]:
        text = f"must be one address with {kind}, since backends must know it: no prefix"
        wrong.append((("vips", 0), text))
    if kind == "l3dsr" and service.dscp is None:
        wrong.append((("dscp",), "l3dsr needs one, 1 to 63: it stands for the VIP on the backends"))
    if (
        kind == "nat"
        and service.backend_port is not None
        and (len(service.ports) > 1 or isinstance(service.ports[0], str))
    ):
        text = "with backend_port a service has one port, since a reply's own port must tell it"
        wrong.append((("ports",), f"{text}: leave backend_port out, or make a service for each port"))
    return wrong


# ---- the whole document ----


def versions(pool: "Pool") -> dict[int, str]:
    """Return the IP versions of a pool's backends, each with the name of the first that has it."""
    first: dict[int, str] = {}
    for backend in pool.backends:
        first.setdefault(_version(backend.address), backend.name)
    return first


def pool_faults(service: "Service", first: dict[int, str]) -> list[Wrong]:
    """Return what is wrong with a service's encapsulation, given the `versions` of its pool."""
    kind, rule = service.encapsulation, RULES[service.encapsulation]
    if kind == "l2dsr":
        return []  # an address is only what their MAC is found by
    allowed = (_version(service.vips[0]),) if kind in REWRITES else rule.backends
    wrong: list[Wrong] = []
    for version, name in first.items():
        if version not in allowed:
            text = f"{kind} to {service.vips[0]}" if kind in REWRITES else kind
            text = f"{text} reaches IPv{allowed[0]} backends only"
            wrong.append((("encapsulation",), f"{text}, and {name} of pool {service.pool} is IPv{version}"))
    if len(first) > 1 and not wrong:
        text = f"pool {service.pool} has backends of both families, {first[4]} is IPv4 and {first[6]} is IPv6"
        wrong.append((("pool",), f"{text}: the hops of a chain are of one; make it two pools"))
    if service.policy == "glb" and 6 in first and not wrong:
        text = f"GLB's directors know IPv4 backends only, and {first[6]} of pool {service.pool} is IPv6"
        wrong.append((("policy",), text))
    return wrong


def shared_faults(document: "Document", order: "Sequence[Service]") -> Iterator[tuple["Service", Wrong]]:
    """Yield what backends could not tell apart: one DSCP for two VIPs, one port behind two services.

    Of two services the one that comes later in ``order`` is at fault. Those of pools without a common
    backend address never meet.
    """
    rewriting = [service for service in order if service.encapsulation in REWRITES]
    if not rewriting:
        return
    told: set[tuple[str, str]] = set()
    for names in _meeting(document, {service.pool for service in rewriting}):
        together = [service for service in rewriting if service.pool in names]
        for check in (_dscp_faults, _port_faults):
            for service, wrong in check(together):
                if (service.name, wrong[1]) not in told:
                    told.add((service.name, wrong[1]))
                    yield service, wrong


def _meeting(document: "Document", wanted: set[str]) -> Iterable[frozenset[str]]:
    """Return the sets of pools that have a backend address in common; a pool alone is one, too."""
    pools: dict[str, set[str]] = defaultdict(set)
    for pool in document.pools:
        if pool.name in wanted:
            for backend in pool.backends:
                pools[backend.address].add(pool.name)
    return sorted(
        {frozenset(names) for names in pools.values()} | {frozenset((n,)) for n in wanted}, key=sorted
    )


def _dscp_faults(services: "Iterable[Service]") -> Iterator[tuple["Service", Wrong]]:
    owners: dict[tuple[int, int | None], Service] = {}
    for service in services:
        if service.encapsulation != "l3dsr":
            continue
        owner = owners.setdefault((_version(service.vips[0]), service.dscp), service)
        if owner.vips[0] != service.vips[0]:
            text = f"{service.dscp} stands for {owner.vips[0]} of service {owner.name} on the same backends"
            yield service, (("dscp",), f"{text}: give {service.vips[0]} another one")


def _port_faults(services: "Iterable[Service]") -> Iterator[tuple["Service", Wrong]]:
    """Sweep over the backends' port ranges, one protocol and family at a time."""
    ranges: dict[tuple[str, int], list[tuple[int, int, int, Service]]] = defaultdict(list)
    for place, service in enumerate(services):
        if service.encapsulation == "nat":
            key = (service.protocol, _version(service.vips[0]))
            ranges[key] += ((first, last, place, service) for first, last in backend_ports(service))
    for claims in ranges.values():
        claims.sort(key=lambda claim: claim[:3])
        widest = claims[0]
        for claim in claims[1:]:
            if claim[0] <= widest[1] and claim[3] is not widest[3]:
                early, late = sorted((widest, claim), key=lambda c: c[2])
                field = "ports" if late[3].backend_port is None else "backend_port"
                text = f"port {claim[0]} of the same backends already belongs to service {early[3].name}"
                yield late[3], ((field,), f"{text}: a reply's port could not tell which of the two it is of")
            widest = max(widest, claim, key=lambda c: c[1])


def backend_ports(service: "Service") -> list[tuple[int, int]]:
    """Return the ranges of ports on the backends that a service with nat leads to."""
    from glbpy.models import parse_range

    if service.backend_port is not None:
        return [(service.backend_port, service.backend_port)]
    return [parse_range(port) for port in service.ports]


# ---- what works less well than it looks ----


def remarks(document: "Document") -> list[str]:
    """Return what the compiler says of services whose encapsulation takes something away."""
    return [
        f"service {service.name}: second chance is off, since {service.encapsulation} names no further hops: "
        f"its {service.hops} hops count as 1{_remedy(service)}"
        for service in document.services
        if service.hops > 1 and service.encapsulation != "gue"
    ]


def _remedy(service: "Service") -> str:
    return "" if service.flow_cache == "on" else "; flow_cache: on keeps flows at their backend"
