"""What a drain moves at once: flows that nothing but the table keeps at their backend.

A drain takes a backend off the front of chains. TCP in GUE gets to it still, by second chance; everything
else is delivered at the first hop, and stays only where a flow cache remembers it, or where QUIC-LB finds the
backend by the connection id that it chose.
"""

from collections.abc import Iterator

from glbpy.models import Document, Service, State
from glbpy.prior import settles


def remarks(before: Document, after: Document) -> Iterator[str]:
    """Yield a sentence for each service whose flows leave a backend that begins to drain."""
    for pool in after.pools:
        known = before.pool(pool.name)
        was = {b.name: b.state for b in known.backends} if known else {}
        begun = [
            b.name
            for b in pool.backends
            if b.state == State.DRAINING and was.get(b.name) in (State.ACTIVE, State.FILLING)
        ]
        drains = sum(b.state == State.DRAINING for b in pool.backends)
        for service in after.services if begun else ():
            if service.pool == pool.name and drains >= service.hops and _settles_only(service):
                yield (
                    f"service {service.name}: {drains} backends of pool {pool.name} drain, and chains have "
                    f"{service.hops} hops of their own: connections on them that outlast settle_seconds "
                    f"({service.settle_seconds}) may break"
                )
            if service.pool == pool.name and (what := _unheld(service)) is not None:
                names = ", ".join(f"{pool.name}/{name}" for name in begun)
                yield (
                    f"service {service.name}: {what} on {names} move to other backends at once, "
                    f"since nothing holds them there; {_remedy(service)}"
                )


def _settles_only(service: Service) -> bool:
    """Tell whether what the service's own chains have no room for is held by former states alone."""
    return settles(service) and service.flow_cache == "off"


def _unheld(service: Service) -> str | None:
    """Name the flows that neither second chance nor flow cache nor QUIC-LB keeps; None: there are none."""
    if service.flow_cache == "on" or service.quic is not None:
        return None
    if service.encapsulation != "gue":
        return f"all flows (second chance is off with {service.encapsulation})"
    if service.protocol == "udp":
        return "all flows (there is no second chance for UDP)"
    if service.protocol == "any":
        return "all flows that are not TCP (there is no second chance for them)"
    return None


def _remedy(service: Service) -> str:
    stay = "they" if service.encapsulation != "gue" or service.protocol == "udp" else "UDP flows"
    return f"with flow_cache: on {stay} stay as long as directors remember them"
