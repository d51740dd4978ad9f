"""A control plane without processes: the real store and compiler, directors that load when told, reports.

Nothing here judges: what becomes of connections is world.py's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path as File

from glbpy import _native as native
from glbpy import settling
from glbpy.compiler import NativeCompiler
from glbpy.desired import Desired, Edit, backend_path
from glbpy.models import Document, Health
from glbpy.report import Report, report
from glbpy.snapshot import Snapshot
from glbpy.store import Store
from model.wire import FlowCache, Path

START = datetime(2026, 1, 1, tzinfo=UTC)
CACHE_ENTRIES = 64  # few, so that flows are evicted, too


@dataclass
class Director:
    name: str
    cache: FlowCache
    compiled: int = -1  # which of the cluster's snapshots it has; -1: none yet
    path: Path | None = None


@dataclass(frozen=True)
class Told:
    """A line of a report: what may break from this snapshot on, or, with a director, until it has it."""

    compiled: int
    service: str
    addresses: frozenset[str]
    director: str | None = None


class Cluster:
    def __init__(self, directory: File, directors: int, cache_entries: int = CACHE_ENTRIES) -> None:
        self.now_s = 0
        self.store = Store(directory / "store.db", lambda: START + timedelta(seconds=self.now_s))
        self.directors = [
            Director(f"director{n}", FlowCache(cache_entries)) for n in range(1, directors + 1)
        ]
        self.unhealthy: set[str] = set()  # addresses, as health checks have it
        self.snapshots: list[Snapshot] = []
        self.told: list[Told] = []
        self.turns: list[int] = []  # snapshots by which somebody's health turned over
        self._compiler = NativeCompiler()
        self._inputs: object = None

    def close(self) -> None:
        self.store.close()

    @property
    def state(self) -> Desired:
        return self.store.current()

    @property
    def document(self) -> Document:
        return self.state.document

    # ---- what may happen ----

    def write(self, edit: Edit, admit: bool) -> bool:
        """Make a revision, and a snapshot of it; with ``admit`` only if it breaks nothing. Tell whether.

        That is, neither itself nor what it leads to, when backends that fill now are active.
        """
        if admit:
            fills = len(self.directors) > 1
            tried = self.store.write(edit, actor="t", action="try", dry_run=True, fill_first=fills)
            led_to = self.store.write(edit, actor="t", action="try", dry_run=True) if fills else tried
            if self._report(tried.after) or self._report(led_to.after).leavers:
                return False
        self.store.write(
            edit, actor="t", action="change", fill_first=len(self.directors) > 1,
            secret=None if self.snapshots else bytes(16),
        )  # fmt: skip
        self.update()
        return True

    def set_health(self, unhealthy: Iterable[str], admit: bool) -> bool:
        before, self.unhealthy = self.unhealthy, set(unhealthy)
        if admit and self._report(self.state):
            self.unhealthy = before
            return False
        if before != self.unhealthy:
            self.turns.append(len(self.snapshots))
        self.update()
        return True

    def settle(self, admit: bool) -> None:
        """What the controller does every half second: see what has settled, and what has filled.

        With ``admit``, what has filled waits while that would break something.
        """
        if self.store.settle().changed:
            self.update()
        if all(director.compiled == len(self.snapshots) - 1 for director in self.directors):
            paths = settling.filled(self.state, self.state.revision)

            def edit(state: Desired) -> Document:
                return settling.activate(state, paths)

            tried = self.store.write(edit, actor="c", action="try", dry_run=True)
            if tried.changed and not (admit and self._report(tried.after)):
                self.store.write(edit, actor="c", action="filled")
                self.update()

    def load(self, director: Director) -> None:
        """A director loads the newest snapshot."""
        if director.compiled != len(self.snapshots) - 1:
            director.compiled = len(self.snapshots) - 1
            director.path = Path(self.snapshots[-1].data)

    # ---- compiling ----

    def _compile(self, state: Desired) -> Snapshot:
        addresses = {
            state.ids[backend_path(pool.name, backend.name)]: backend.address
            for pool in state.document.pools
            for backend in pool.backends
        }
        for members in settling.settling_members(state).values():
            addresses.update({member.id: member.address for member in members})
        health = {
            number: Health.UNHEALTHY if address in self.unhealthy else Health.HEALTHY
            for number, address in addresses.items()
        }
        return self._compiler.compile(state, self.store.secret, health)

    def _report(self, state: Desired, snapshot: Snapshot | None = None) -> Report:
        running = {
            director.name: self.snapshots[director.compiled] if director.compiled >= 0 else None
            for director in self.directors
        }
        latest = self.snapshots[-1] if self.snapshots else None
        return report(self._compiler, running, latest, snapshot or self._compile(state))

    def update(self) -> None:
        """Compile what is wanted now, and keep what the report says of it."""
        inputs = (self.state.revision, frozenset(self.unhealthy))
        if inputs == self._inputs:
            return
        self._inputs = inputs
        snapshot = self._compile(self.state)
        found = self._report(self.state, snapshot)
        number = len(self.snapshots)
        before = {d.compiled: self.snapshots[d.compiled] for d in self.directors if d.compiled >= 0}
        names = _addresses([*before.values(), *self.snapshots[-1:]])
        for leaver in found.leavers:
            self.told.append(Told(number, leaver.service, frozenset(names[leaver.backend])))
        names = _addresses([snapshot])
        for one in found.surprises:
            self.told.append(Told(number, one.service, frozenset(names[one.backend]), one.director))
        self.snapshots.append(snapshot)

    def was_told(self, service: str, address: str, opened: int, director: Director) -> bool:
        """Tell whether a report had it that a connection may break at ``director`` as it is now.

        ``opened`` is the snapshot by which it was opened.
        """
        for told in self.told:
            if told.service != service or address not in told.addresses:
                continue
            if told.director is None and opened < told.compiled <= director.compiled:
                return True
            if told.director == director.name and director.compiled < told.compiled <= opened:
                return True
        return False

    def health_turned(self, one: int, other: int) -> bool:
        """Tell whether somebody's health turned over between two snapshots."""
        first, last = sorted((one, other))
        return any(first < turn <= last for turn in self.turns)


def _addresses(snapshots: Iterable[Snapshot]) -> dict[str, set[str]]:
    """Return the addresses that backends have by the names that reports give them."""
    found: dict[str, set[str]] = {}
    for snapshot in snapshots:
        opened = native.Snapshot(snapshot.data)
        for table in opened.tables:
            for backend in opened.backends[table.backend_base : table.backend_base + table.backend_count]:
                found.setdefault(f"{table.pool}/{backend.name}", set()).add(str(backend.address))
    return found
