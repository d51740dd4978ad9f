"""Guard rails: writes that certainly cost clients something, and are refused unless they are forced.

Drains only: one that would leave a service nobody for new connections, or one that would break the very
connections that it promises to keep. What merely may break is a warning of the write (glbpy.report).
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field

from glbpy.desired import Desired, backend_path, find_backend
from glbpy.errors import ConflictError
from glbpy.models import HOPS_MAX, Backend, Document, Health, Model, Service, State
from glbpy.status import Leaver

NAMED = 5  # backends that a sentence names


class GuardRail(Model):
    """Why a write is refused."""

    rule: Literal["last-backend", "drain-breaks"] = Field(description="Which guard rail; stays.")
    path: str = Field(description="The resource that would suffer.")
    detail: str
    fix: str = Field(description="What to do instead.")

    def __str__(self) -> str:
        return f"{self.detail}; {self.fix}"


class GuardError(ConflictError):
    """A write was refused by guard rails; ``refused`` says which."""

    def __init__(self, refused: Iterable[GuardRail]) -> None:
        self.refused = tuple(refused)
        super().__init__("\n".join(map(str, self.refused)))


def refusals(
    before: Desired, after: Document, health: Mapping[int, Health], leavers: Iterable[Leaver]
) -> tuple[GuardRail, ...]:
    """Return what speaks against the change from ``before`` to ``after``, nothing for most."""
    return emptied(before, after, health) + broken(after, begun(before.document, after), leavers)


# ---- nobody left ----


def emptied(before: Desired, after: Document, health: Mapping[int, Health]) -> tuple[GuardRail, ...]:
    """Return a rail for each pool of several backends whose last one for new connections would drain.

    ``health`` is by the ids of ``before``. Who drains the only backend of a pool, deactivates or takes away
    the last one has nothing else to choose from and means it: that is an alarm of the pool, not refused.
    """
    suffering: dict[str, list[str]] = {}
    drained = begun(before.document, after)
    for service in after.services:
        old = before.document.service(service.name)
        if old is None or service.pool not in drained or _takers(before, after, service.pool, health):
            continue
        if len(_idle(before, after, service.pool, health)) == 1:
            continue
        if _takers(before, before.document, old.pool, health):
            suffering.setdefault(service.pool, []).append(service.name)
    return tuple(_empty(before, after, pool, names, health) for pool, names in suffering.items())


def _empty(
    before: Desired, after: Document, pool: str, services: list[str], health: Mapping[int, Health]
) -> GuardRail:
    why = _list([f"{name} {text}" for name, text in _idle(before, after, pool, health).items()])
    return GuardRail(
        rule="last-backend",
        path=f"pools/{pool}",
        detail=f"no backend of pool {pool} would take new connections of {_services(services)} ({why})",
        fix="add, undrain or mend one first",
    )


def _takers(before: Desired, document: Document, pool: str, health: Mapping[int, Health]) -> bool:
    """Tell whether somebody gets new connections, or will when it has filled."""
    return None in _idle(before, document, pool, health).values()


def _idle(
    before: Desired, document: Document, name: str, health: Mapping[int, Health]
) -> dict[str, str | None]:
    """Return by name why backends get no new connections; None: they do."""
    pool = document.pool(name)
    known = before.document.pool(name)
    found: dict[str, str | None] = {}
    for backend in pool.backends if pool else ():
        was = find_backend(known, backend.name) if known else None
        same = was is not None and was.address == backend.address
        number = before.ids[backend_path(name, backend.name)] if same else 0
        if backend.state not in (State.ACTIVE, State.FILLING):
            found[backend.name] = f"is {backend.state}"
        elif backend.weight == 0:
            found[backend.name] = "has weight 0"
        else:
            ill = health.get(number) == Health.UNHEALTHY
            found[backend.name] = "is unhealthy" if ill else None
    return found


# ---- drains that break what they promise to keep ----


def begun(before: Document, after: Document) -> dict[str, list[str]]:
    """Return the backends that the change drains, by pool: by their state, or by weight 0."""
    found: dict[str, list[str]] = {}
    for pool in after.pools:
        known = before.pool(pool.name)
        for backend in pool.backends:
            was = find_backend(known, backend.name) if known else None
            if was is not None and _serves(was) and _drains(backend):
                found.setdefault(pool.name, []).append(backend.name)
    return found


def _serves(backend: Backend) -> bool:
    return backend.state in (State.ACTIVE, State.FILLING) and backend.weight > 0


def _drains(backend: Backend) -> bool:
    return backend.state == State.DRAINING or (backend.state == State.ACTIVE and backend.weight == 0)


def broken(
    after: Document, drained: Mapping[str, list[str]], leavers: Iterable[Leaver]
) -> tuple[GuardRail, ...]:
    """Return a rail for each service whose rows lose first hops by drains: connections live there.

    ``leavers`` leave chains by the change that leads to ``after``.
    """
    lost: dict[str, list[Leaver]] = {}
    for leaver in leavers:
        pool, _, name = leaver.backend.partition("/")
        service, found = after.service(leaver.service), after.pool(pool)
        if service is None or service.pool != pool or pool not in drained or not _second_chance(service):
            continue
        backend = find_backend(found, name) if found else None
        if backend is not None and backend.state != State.INACTIVE and leaver.first:
            lost.setdefault(leaver.service, []).append(leaver)
    return tuple(_break(s, drained, lost[s.name]) for s in after.services if s.name in lost)


def _break(service: Service, drained: Mapping[str, list[str]], lost: list[Leaver]) -> GuardRail:
    who = _list([f"{one.backend} leaves {one.rows} rows" for one in lost])
    longer = f"hops above {service.hops}, " if service.hops < HOPS_MAX else ""
    settle = "settle_seconds above 0, " if service.settle_seconds == 0 else ""
    begun = _list([f"{service.pool}/{one}" for one in drained[service.pool]])
    return GuardRail(
        rule="drain-breaks",
        path=f"services/{service.name}",
        detail=f"draining {begun} breaks connections of service {service.name}, "
        f"whose chains have {service.hops} hops: {who}",
        fix=f"{longer}{settle}or undrain another one first",
    )


def _second_chance(service: Service) -> bool:
    """Tell whether a drain promises to keep connections by the chain alone."""
    chained = service.encapsulation == "gue" and service.hops > 1
    return chained and service.protocol != "udp" and service.flow_cache == "off"


def _services(names: list[str]) -> str:
    return f"service{'s' if len(names) > 1 else ''} {_list(names)}"


def _list(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
