"""The desired state, and every edit of it as a pure function from one whole document to the next.

Resources are named by their REST paths: ``services/www``, ``pools/web``, ``pools/web/backends/web1``.
Nothing here stores anything, and health is not part of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from glbpy.errors import ConflictError, DocumentError, FieldError, NotFoundError, StaleError
from glbpy.models import Backend, Document, Model, Pool, Service, State
from glbpy.prior import Prior


def service_path(service: str) -> str:
    return f"services/{service}"


def pool_path(pool: str) -> str:
    return f"pools/{pool}"


def backend_path(pool: str, backend: str) -> str:
    return f"pools/{pool}/backends/{backend}"


@dataclass(frozen=True)
class Desired:
    """What the operators want, as of a revision. Every backend has a state; the document has no secret."""

    revision: int = 0  # 0: nothing has been written yet
    document: Document = field(default_factory=Document)
    ids: Mapping[str, int] = field(default_factory=dict)  # path of a service or backend: its stable id
    versions: Mapping[str, int] = field(default_factory=dict)  # path: the revision that last changed it
    # Path of a service: former states of its rows, newest first, that connections still live by.
    priors: Mapping[str, tuple[Prior, ...]] = field(default_factory=dict)
    filling: frozenset[str] = frozenset()  # paths of backends that become active once every director has them

    @classmethod
    def standalone(cls, document: Document) -> "Desired":
        """Return what offline tools make of a document alone: ids from 1 in its order, revision 0."""
        whole = merge(Document(), document)
        backends = [backend_path(pool.name, b.name) for pool in whole.pools for b in pool.backends]
        ids = {service_path(service.name): i for i, service in enumerate(whole.services, 1)}
        ids.update({path: i for i, path in enumerate(backends, 1)})
        return cls(0, whole, ids)

    def successor(self, document: Document) -> "Desired":
        """Return what offline tools make of the next document. What stays keeps its id, as in a store."""
        old = resources(self.document)
        ids: dict[str, int] = {}
        newest = max(self.ids.values(), default=0)
        for path, value in resources(document).items():
            if isinstance(value, Pool):
                continue
            same = path in old and getattr(old[path], "address", None) == getattr(value, "address", None)
            newest += not same
            ids[path] = self.ids[path] if same else newest
        return Desired(self.revision + 1, document, ids)

    def service(self, name: str) -> Service:
        found = self.document.service(name)
        if found is None:
            raise NotFoundError(service_path(name))
        return found

    def pool(self, name: str) -> Pool:
        found = self.document.pool(name)
        if found is None:
            raise NotFoundError(pool_path(name))
        return found

    def backend(self, pool: str, name: str) -> Backend:
        found = find_backend(self.pool(pool), name)
        if found is None:
            raise NotFoundError(backend_path(pool, name))
        return found


Edit = Callable[[Desired], Document]  # from the current state to the next whole document


class Expect(Protocol):
    """What a writer knows of a resource (If-Match, If-None-Match), judged inside the write's transaction."""

    def holds(self, current: str | None) -> bool:
        """Tell whether the version ``current`` (None = the resource does not exist) is as expected."""


def check_version(state: Desired, path: str, expect: Expect | None) -> None:
    """Raise StaleError when ``path`` is not as the writer expects; no expectation always holds."""
    version = state.versions.get(path)
    if expect is not None and not expect.holds(None if version is None else str(version)):
        raise StaleError(path, version)


def find_backend(pool: Pool, name: str) -> Backend | None:
    return next((backend for backend in pool.backends if backend.name == name), None)


def resources(document: Document) -> dict[str, Model]:
    """Return every resource by its path. A pool's value includes its backends."""
    found: dict[str, Model] = {service_path(service.name): service for service in document.services}
    for pool in document.pools:
        found[pool_path(pool.name)] = pool
        found.update({backend_path(pool.name, backend.name): backend for backend in pool.backends})
    return found


# ---- edits: whole document in, whole document out ----


def merge(current: Document, given: Document, prune: bool = False) -> Document:
    """Create or replace the resources in ``given``. Others stay, or with ``prune`` go.

    A pool is replaced with its backends: those not listed are removed. A backend without a state keeps
    the one that it has under this name; a new one is active.
    """
    pools = {} if prune else {pool.name: pool for pool in current.pools}
    pools.update({pool.name: _with_states(pool, current.pool(pool.name)) for pool in given.pools})
    services = {} if prune else {service.name: service for service in current.services}
    services.update({service.name: service for service in given.services})
    return Document(pools=tuple(pools.values()), services=tuple(services.values()))


def put_service(current: Document, service: Service) -> Document:
    return merge(current, Document(services=(service,)))


def put_pool(current: Document, pool: Pool) -> Document:
    return merge(current, Document(pools=(pool,)))


def put_backend(state: Desired, pool_name: str, backend: Backend) -> Document:
    pool = state.pool(pool_name)
    backends = {known.name: known for known in pool.backends}
    backends[backend.name] = backend
    for position, other in enumerate(pool.backends):
        if other.name != backend.name and other.address == backend.address:
            text = f"backend {other.name} (position {position}) of pool {pool_name} has this address already"
            raise DocumentError([FieldError("/address", text)])
    return put_pool(state.document, pool.model_copy(update={"backends": tuple(backends.values())}))


def remove_service(state: Desired, name: str) -> Document:
    state.service(name)
    left = tuple(service for service in state.document.services if service.name != name)
    return state.document.model_copy(update={"services": left})


def remove_pool(state: Desired, name: str) -> Document:
    state.pool(name)
    users = [service.name for service in state.document.services if service.pool == name]
    if users:
        raise ConflictError(f"pool {name} is used by service {', '.join(users)}; delete or change that first")
    left = tuple(pool for pool in state.document.pools if pool.name != name)
    return state.document.model_copy(update={"pools": left})


def remove_backend(state: Desired, pool_name: str, name: str) -> Document:
    state.backend(pool_name, name)
    pool = state.pool(pool_name)
    left = tuple(backend for backend in pool.backends if backend.name != name)
    return put_pool(state.document, pool.model_copy(update={"backends": left}))


def set_state(state: Desired, pool_name: str, name: str, wanted: State) -> Document:
    backend = state.backend(pool_name, name)
    return put_backend(state, pool_name, backend.model_copy(update={"state": wanted}))


def drain(state: Desired, pool_name: str, name: str) -> Document:
    """Make a backend draining. Raises ConflictError for an inactive one: it would come back into chains."""
    if state.backend(pool_name, name).state == State.INACTIVE:
        raise ConflictError(f"{backend_path(pool_name, name)} is inactive: there is nothing to drain")
    return set_state(state, pool_name, name, State.DRAINING)


def undrain(state: Desired, pool_name: str, name: str) -> Document:
    """Make a draining backend active. Active and filling ones stay as they are."""
    wanted = state.backend(pool_name, name).state
    if wanted == State.INACTIVE:
        raise ConflictError(f"{backend_path(pool_name, name)} is inactive, not draining: put its state")
    if wanted != State.DRAINING:
        return state.document
    return set_state(state, pool_name, name, State.ACTIVE)


def _with_states(pool: Pool, current: Pool | None) -> Pool:
    known = {backend.name: backend.state for backend in current.backends} if current else {}
    backends = tuple(
        backend
        if backend.state is not None
        else backend.model_copy(update={"state": known.get(backend.name) or State.ACTIVE})
        for backend in pool.backends
    )
    return pool.model_copy(update={"backends": backends})


# ---- comparisons ----


class FieldChange(Model):
    """A field of a resource before and after, as JSON has it."""

    field: str
    before: object
    after: object


class Change(Model):
    """What happened to one resource between two revisions. Backends are listed apart from their pool."""

    path: str
    change: Literal["added", "removed", "changed"]
    fields: tuple[FieldChange, ...] = ()


def diff(before: Document, after: Document) -> list[Change]:
    """Return what changed, sorted by path."""
    old, new = resources(before), resources(after)
    changes = []
    for path in sorted(old.keys() | new.keys()):
        if path not in old:
            changes.append(Change(path=path, change="added"))
        elif path not in new:
            changes.append(Change(path=path, change="removed"))
        else:
            fields = _changed_fields(old[path], new[path])
            if fields:
                changes.append(Change(path=path, change="changed", fields=fields))
    return changes


def _changed_fields(before: Model, after: Model) -> tuple[FieldChange, ...]:
    if before == after:
        return ()
    skip = {"backends"} if isinstance(before, Pool) else set()
    old, new = before.model_dump(mode="json", exclude=skip), after.model_dump(mode="json", exclude=skip)
    return tuple(FieldChange(field=f, before=old[f], after=new[f]) for f in old if old[f] != new[f])


def ended_drains(before: Document, after: Document) -> list[str]:
    """Return the paths of backends that were draining and now take new connections again."""
    paths = []
    for pool in after.pools:
        known = before.pool(pool.name)
        was = {b.name for b in known.backends if b.state == State.DRAINING} if known else set()
        ended = [b for b in pool.backends if b.name in was and b.state in (State.ACTIVE, State.FILLING)]
        paths += [backend_path(pool.name, b.name) for b in ended]
    return paths
