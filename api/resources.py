"""What the API answers with: `spec` is what was asked for, `status` what was observed.

Only puts together what the controller has. ``revision`` beside them is the one that last changed the spec:
the ETag. ``status.revision`` is the one that every director forwards by.
"""

from datetime import datetime

from pydantic import Field

from glbpy import desired
from glbpy.controller import Controller
from glbpy.desired import Change, Desired
from glbpy.models import Backend, Document, Model, Pool, Service
from glbpy.status import BackendStatus, DirectorStatus, WriteResult

SpecRevision = Field(description="The revision that last changed the spec. The ETag, without quotes.")
InForce = Field(description="The revision that every director forwards by; null when one is away.")


class ServiceStatus(Model):
    revision: int | None = InForce
    id: int = Field(description="Under which counters go; never used for another service.")


class ServiceResource(Model):
    name: str
    revision: int = SpecRevision
    spec: Service
    status: ServiceStatus


class BackendObserved(BackendStatus):
    revision: int | None = InForce


class BackendResource(Model):
    pool: str
    name: str
    revision: int = SpecRevision
    spec: Backend
    status: BackendObserved


class PoolStatus(Model):
    revision: int | None = InForce
    available: int = Field(description="Backends that are given new connections.")
    backends: tuple[BackendStatus, ...]


class PoolResource(Model):
    name: str
    revision: int = SpecRevision
    spec: Pool
    status: PoolStatus


class ServiceWritten(ServiceResource):
    """The answer to a PUT: the resource, and what the write did."""

    result: WriteResult


class BackendWritten(BackendResource):
    """The answer to a PUT: the resource, and what the write did."""

    result: WriteResult


class PoolWritten(PoolResource):
    """The answer to a PUT: the resource, and what the write did."""

    result: WriteResult


class DirectorResource(Model):
    name: str
    status: DirectorStatus


class RevisionResource(Model):
    """A state of the whole configuration. Lists leave the document out."""

    number: int
    created_at: datetime
    actor: str = Field(description="Whose token it was, or api.")
    action: str
    document: Document | None = None


class Difference(Model):
    since: int = Field(description="The revision compared with; 0 is the empty one before the first.")
    revision: int
    changes: tuple[Change, ...]


def in_force(controller: Controller) -> int | None:
    """Return the revision that every director has confirmed, at least.

    A number beyond the wanted one is another store's: of a forwarder that was adopted, and is not loaded yet.
    """
    directors = controller.director_statuses()
    known = [
        director.confirmed_revision
        for director in directors
        if director.confirmed_revision is not None
        and director.confirmed_revision <= (director.wanted_revision or 0)
    ]
    return min(known) if known and len(known) == len(directors) else None


def service(controller: Controller, state: Desired, name: str) -> ServiceResource:
    spec, path = state.service(name), desired.service_path(name)
    status = ServiceStatus(revision=in_force(controller), id=state.ids[path])
    return ServiceResource(name=name, revision=state.versions[path], spec=spec, status=status)


def pool(controller: Controller, state: Desired, name: str) -> PoolResource:
    spec, path = state.pool(name), desired.pool_path(name)
    backends = tuple(controller.backend_statuses(name))
    available = sum(backend.available for backend in backends)
    status = PoolStatus(revision=in_force(controller), available=available, backends=backends)
    return PoolResource(name=name, revision=state.versions[path], spec=spec, status=status)


def backend(
    controller: Controller, state: Desired, pool: str, name: str, observed: BackendStatus | None = None
) -> BackendResource:
    spec, path = state.backend(pool, name), desired.backend_path(pool, name)
    observed = observed or controller.backend_status(pool, name)
    status = BackendObserved(revision=in_force(controller), **observed.model_dump())
    return BackendResource(pool=pool, name=name, revision=state.versions[path], spec=spec, status=status)
