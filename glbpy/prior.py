"""A former state of a service's rows: who had a part in them, by which rules, and until when it was wanted.

Its members stay appended to the chains that they were in while the service settles (``settle_seconds``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from glbpy.models import Pool, Service, State

PRIORS_MAX = 32  # of one service; older ones are forgotten, and the report of leavers says whom that hits


@dataclass(frozen=True, slots=True)
class Member:
    """A backend that had a part in rows: every one but inactive ones."""

    name: str
    id: int
    address: str
    weight: int
    state: State

    @property
    def part(self) -> tuple[str, int, State]:
        """What of it decides about rows."""
        return self.address, self.weight, self.state


@dataclass(frozen=True)
class Prior:
    """A service's rows as they were in ``revision``, the last one that had them so."""

    revision: int
    ended_at: datetime  # when another revision took its place
    service: Service
    members: tuple[Member, ...]

    @classmethod
    def of(
        cls, revision: int, ended_at: datetime, service: Service, pool: Pool, ids: Mapping[str, int]
    ) -> "Prior":
        """Return the rows of ``service`` with ``pool``, its own; ``ids`` are the backends' by name."""
        members = tuple(
            Member(backend.name, ids[backend.name], backend.address, backend.weight, backend.state)
            for backend in pool.backends
            if backend.state is not None and backend.state != State.INACTIVE
        )
        return cls(revision, ended_at, service, members)

    @property
    def lookup(self) -> tuple[object, ...]:
        """What gives a flow its row: equal ones give equal numbers in rows of the same pool."""
        return lookup_of(self.service)

    @property
    def rows(self) -> tuple[object, ...]:
        """What decides about the rows: priors with equal ones are the same."""
        service = self.service
        parts = frozenset(member.part for member in self.members)
        return *self.lookup, service.hops, service.policy, service.seed, parts

    def expires_at(self, settle_seconds: int) -> datetime:
        return self.ended_at + timedelta(seconds=settle_seconds)


def lookup_of(service: Service) -> tuple[object, ...]:
    """Return what gives a flow of the service its row."""
    return (
        service.pool,
        service.algorithm,
        service.table_size,
        service.hash_fields,
        service.hash_key,
        service.source_affinity,
    )


def settles(service: Service) -> bool:
    """Tell whether a service's rows remember: GLB's do not; only GUE names further hops, to TCP's use."""
    return (
        service.settle_seconds > 0
        and service.policy != "glb"
        and service.encapsulation == "gue"
        and service.protocol != "udp"
    )
