"""What was observed: of directors, of backends, and of a write. The API shows these models as they are."""

from collections.abc import Collection, Iterator
from datetime import datetime

from pydantic import Field

from glbpy.desired import Change
from glbpy.models import Health, Model, State
from glbpy.seen import LastErrorSeen, LastLoadSeen, LcoreSeen, NextHopsSeen, PathMtuSeen, PortSeen, PuntSeen


class Trouble(Model):
    """Something that is wrong now. ``code`` is stable, ``message`` is for people."""

    code: str
    message: str


class ConnectionsLeft(Model):
    """Connections of a draining backend to its pool's VIPs, as it said last; of UDP connected sockets."""

    open: int | None = Field(default=None, description="The client may ask more; null: it has not said yet.")
    closing: int | None = Field(default=None, description="The server is through, the client is not.")
    answers: int = Field(default=0, description="How often it has said so since it drains.")
    error: str | None = Field(default=None, description="Why it does not say so any more.")


class WayMtu(Model):
    """The MTU of the way from a director to a backend, where a router has said that it is smaller."""

    director: str
    mtu: int = Field(description="Bytes of IP, outer headers included.")
    said_s: float = Field(description="Seconds ago, when the director was last asked.")


class BackendStatus(Model):
    """A backend's observed health. Changes neither revisions nor ETags."""

    pool: str
    backend: str
    id: int
    state: State
    health: Health
    since: datetime | None = Field(description="When the health last changed; null: never checked.")
    detail: str = Field(description="What the check that decided it said.")
    available: bool = Field(description="Active, not unhealthy, weight above 0: it is given new connections.")
    connections: ConnectionsLeft | None = Field(
        default=None, description="What is left on it, while it drains and its pool has `report`."
    )
    path_mtus: tuple[WayMtu, ...] = Field(
        default=(), description="Of directors that have a link with a smaller MTU on their way to it."
    )


class Leaver(Model):
    """A backend that leaves chains between two snapshots: connections that live there may break."""

    service: str
    backend: str
    rows: int
    first: int = Field(description="Of these, rows in which it was the first hop.")

    def __str__(self) -> str:
        return (
            f"{self.backend} leaves {self.rows} rows of {self.service} (first hop in {self.first}): "
            "connections that live there may break"
        )


class FlowCacheUse(Model):
    """A director's flow caches, all workers together."""

    entries: int = Field(description="Flows remembered now.")
    capacity: int = Field(description="Most that can be remembered.")
    hits: int = Field(description="Packets whose flow was remembered.")
    misses: int = Field(description="Packets that asked, and whose flow was not.")
    evicted_established: int = Field(description="Established flows that had to make room.")


class ListMissing(Model):
    """A source list that a service names and the director does not have: it blocks, or allows, nobody."""

    service: str
    list: str


class ListsSeen(Model):
    """The source lists that a director has in force."""

    generation: int = Field(description="Lists files that it has loaded since it started.")
    digest: str | None = Field(description="Of the lists file; null: none.")
    count: int
    prefixes: int = Field(description="Of all lists.")
    in_force: bool = Field(description="They are the newest.")
    missing: tuple[ListMissing, ...] = ()
    error: str | None = Field(default=None, description="Why it refused the last file; null: it did not.")


class DirectorStatus(Model):
    """A director as last seen: what it forwards from, and whether that is what is wanted."""

    name: str
    reachable: bool
    pid: int | None = None
    program_version: str | None = None
    uptime_s: float | None = None
    generation: int | None = Field(default=None, description="Snapshots it has loaded since it started.")
    digest: str | None = Field(default=None, description="Of the snapshot that it forwards from.")
    wanted_revision: int | None = Field(default=None, description="Of the newest compiled snapshot.")
    confirmed_revision: int | None = Field(default=None, description="Of the snapshot that it forwards from.")
    in_force: bool = Field(default=False, description="It forwards from the newest compiled snapshot.")
    trouble: Trouble | None = None
    counters: dict[str, int] = Field(default_factory=dict, description="Packets by reason, all workers.")
    flow_cache: FlowCacheUse | None = Field(
        default=None, description="Null until a service with flow_cache has come."
    )
    lists: ListsSeen | None = Field(default=None, description="Source lists; null: it has not said yet.")
    stats_path: str | None = Field(default=None, description="Its counter file, on its machine.")
    muted: bool = Field(default=False, description="It waits to take over from the process that forwards.")
    last_error: LastErrorSeen | None = Field(
        default=None, description="Why it refused the last snapshot that it was given; null: it did not."
    )
    last_load: LastLoadSeen | None = None
    lcores: tuple[LcoreSeen, ...] = ()
    ports: tuple[PortSeen, ...] = ()
    punt: tuple[PuntSeen, ...] = ()
    next_hops: NextHopsSeen | None = None
    path_mtus: tuple[PathMtuSeen, ...] = Field(
        default=(), description="Backends behind links with a smaller MTU, the first 256."
    )

    def alarms(self, available: Collection[str]) -> Iterator[str]:
        """Yield what an operator should see to. ``available`` backends (POOL/BACKEND) can be reached."""
        if self.trouble is not None:
            yield f"director {self.name}: {self.trouble.message}"
        for missing in self.lists.missing if self.lists else ():
            wants = f"service {missing.service} wants the list {missing.list}"
            yield f"director {self.name}: {wants}, which is not there"
        for lcore in self.lcores:
            if lcore.stuck:
                who = f"{lcore.role} {lcore.worker} (lcore {lcore.lcore})"
                yield f"director {self.name}: {who} is stuck: it {lcore.stuck}"
        for hop in self.next_hops.missing if self.next_hops else ():
            if hop.backend in available:
                backend = f"backend {hop.backend} ({hop.address})"
                yield f"director {self.name}: {backend} has no next hop: {hop.why}"


class WriteResult(Model):
    """The outcome of a write. ``revision`` is the current one, new only if ``changed``."""

    revision: int
    changed: bool
    created: bool = False
    version: int | None = Field(default=None, description="Of the resource written, if it was a single one.")
    dry_run: bool = False
    changes: tuple[Change, ...] = Field(default=(), description="Resource by resource.")
    notes: tuple[str, ...] = Field(default=(), description="What the write did beyond its letter.")
    warnings: tuple[str, ...] = Field(default=(), description="What it may break.")
    leavers: tuple[Leaver, ...] = ()


class ControllerStatus(Model):
    """The whole at a glance."""

    revision: int
    compiled_revision: int | None
    compile_trouble: Trouble | None
    alarms: tuple[str, ...] = Field(description="What an operator should see to now.")
    directors: tuple[DirectorStatus, ...]
