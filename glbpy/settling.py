"""What a change leaves behind in the desired state: prior states of rows, and backends that have yet to fill.

Pure functions of two states and a time, called inside the store's transaction, so that every director
compiles the same from a revision. docs/adr/0004-prior-states.md.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from glbpy.desired import Desired, backend_path, find_backend, service_path
from glbpy.models import Document, Pool, Service, State
from glbpy.prior import PRIORS_MAX, Member, Prior, lookup_of, settles

Priors = Mapping[str, tuple[Prior, ...]]  # by path of the service, newest first


def prior_of(state: Desired, service: Service, ended_at: datetime) -> Prior:
    """Return how the rows of ``service`` are in ``state``, which has it."""
    pool = state.pool(service.pool)
    ids = {backend.name: state.ids[backend_path(pool.name, backend.name)] for backend in pool.backends}
    return Prior.of(state.revision, ended_at, service, pool, ids)


def next_priors(before: Desired, after: Desired, now: datetime) -> Priors:
    """Return the priors that belong to ``after``, which takes the place of ``before`` at ``now``."""
    old_services = {service.name: service for service in before.document.services}
    old_pools = {pool.name: pool for pool in before.document.pools}
    new_pools = {pool.name: pool for pool in after.document.pools}
    found = {}
    for service in after.document.services:
        path = service_path(service.name)
        old = old_services.get(service.name)
        if old is None or not settles(service):
            continue
        kept = before.priors.get(path, ())
        if old is not service or old_pools[old.pool] is not new_pools[service.pool]:
            present = prior_of(after, service, now).rows
            kept = _distinct((prior_of(before, old, now), *kept), present)
        kept = tuple(prior for prior in kept if prior.expires_at(service.settle_seconds) > now)
        if kept:
            found[path] = kept[:PRIORS_MAX]
    return found


def _distinct(priors: Iterable[Prior], present: tuple[object, ...]) -> tuple[Prior, ...]:
    """Return the priors that differ from the present rows and from newer ones."""
    seen = {present}
    kept = []
    for prior in priors:
        rows = prior.rows
        if rows not in seen:
            seen.add(rows)
            kept.append(prior)
    return tuple(kept)


def next_expiry(state: Desired) -> datetime | None:
    """Return when the next prior has settled, or None when there is none."""
    return min(
        (
            prior.expires_at(service.settle_seconds)
            for service in _remembering(state)
            for prior in state.priors[service_path(service.name)]
        ),
        default=None,
    )


def _remembering(state: Desired) -> list[Service]:
    """Return the services that have priors."""
    if not state.priors:
        return []
    return [service for service in state.document.services if service_path(service.name) in state.priors]


def split(state: Desired, service: Service) -> tuple[tuple[Prior, ...], tuple[Prior, ...]]:
    """Return the priors whose rows the service still has, and those of its newest former look-up.

    Flows that began by a look-up before that one have lost their rows: a director looks up two.
    """
    priors = state.priors.get(service_path(service.name), ())
    own = lookup_of(service)
    others = [prior for prior in priors if prior.lookup != own]
    alt = tuple(prior for prior in others if prior.lookup == others[0].lookup)
    return tuple(prior for prior in priors if prior.lookup == own), alt


def settling_members(state: Desired) -> dict[str, list[Member]]:
    """Return the backends that are gone while connections to them settle, by pool, ascending by id.

    A pool that is gone itself may be among them.
    """
    known = {pool.name: {backend.address for backend in pool.backends} for pool in state.document.pools}
    gone: dict[str, dict[str, Member]] = {}
    for service in _remembering(state):
        own, alt = split(state, service)
        for prior in (*own, *alt):
            pool = prior.service.pool
            of_pool = gone.setdefault(pool, {})
            for member in prior.members:
                newest = of_pool.get(member.address)
                if member.address not in known.get(pool, ()) and (newest is None or newest.id < member.id):
                    of_pool[member.address] = member
    return {pool: sorted(members.values(), key=lambda member: member.id) for pool, members in gone.items()}


def backend_ids(state: Desired) -> list[int]:
    """Return the ids of all backends in snapshots of ``state``: present ones, and those that settle."""
    present = [number for path, number in state.ids.items() if path.startswith("pools/")]
    return present + [member.id for members in settling_members(state).values() for member in members]


# ---- filling ----


def fill_first(before: Desired, document: Document) -> tuple[Document, frozenset[str]]:
    """Make backends that would begin to take connections fill first, and return the paths of those.

    Until every director has them in its chains, a connection that one director opened on them would
    break at another.
    """
    filling: set[str] = set()
    pools = []
    for pool in document.pools:
        backends = []
        for backend in pool.backends:
            path = backend_path(pool.name, backend.name)
            known = before.document.pool(pool.name)
            was = find_backend(known, backend.name) if known else None
            same = was is not None and was.address == backend.address
            if backend.state == State.ACTIVE and not (same and was and was.state == State.ACTIVE):
                backend = backend.model_copy(update={"state": State.FILLING})
                filling.add(path)
            elif backend.state == State.FILLING and same and path in before.filling:
                filling.add(path)
            backends.append(backend)
        pools.append(pool.model_copy(update={"backends": tuple(backends)}))
    return document.model_copy(update={"pools": tuple(pools)}), frozenset(filling)


def filled(state: Desired, confirmed: int) -> frozenset[str]:
    """Return the filling backends that every director has, having all confirmed revision ``confirmed``."""
    return frozenset(path for path in state.filling if state.versions[path] <= confirmed)


def activate(state: Desired, paths: frozenset[str]) -> Document:
    """Make filling backends active."""

    def active(pool: Pool) -> Pool:
        backends = tuple(
            backend.model_copy(update={"state": State.ACTIVE})
            if backend_path(pool.name, backend.name) in paths and backend.state == State.FILLING
            else backend
            for backend in pool.backends
        )
        return pool.model_copy(update={"backends": backends})

    return state.document.model_copy(update={"pools": tuple(map(active, state.document.pools))})
