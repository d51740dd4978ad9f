"""The controller: takes writes, and makes the directors forward by them.

desired state (store) + health → compile → snapshot → each director → confirmed generation. It holds all
behaviour; routes and commands only call it. Runs on one event loop: call its methods from there. What
blocks (store, compiler, sockets) runs in threads.

A write is committed, then compiled; its result says what may break. Changes that come while a compile runs,
or within ``gap_s`` of it, are taken together. When a compile fails, the old snapshot stays in force
and status() says why.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from glbpy import allow_list, desired, draining, guard, settling
from glbpy._native import tidy_prefixes
from glbpy.desired import Desired, Edit, Expect
from glbpy.director import Director
from glbpy.drain_watch import DrainWatch
from glbpy.errors import ForwarderError, GlbError, NotFoundError
from glbpy.health import Checks, Monitor, Probe, Target, check
from glbpy.models import Backend, Document, Health, Pool, Service, State
from glbpy.plan import Plan, Side, make_plan
from glbpy.quic import remarks
from glbpy.report import Report, report
from glbpy.snapshot import Compiler, Snapshot
from glbpy.source_lists import Change, ListInfo, ListsFile, ListWritten, compile_file
from glbpy.status import BackendStatus, ControllerStatus, DirectorStatus, Leaver, Trouble, WriteResult
from glbpy.store import HealthRecord, Store, Written, utc_now
from glbpy.tunnel_check import endpoints

log = logging.getLogger(__name__)

GAP_S = 0.05  # between compiles: at most 20 snapshots a second
SETTLE_S = 0.5  # how often it is seen whether priors have settled, or filling backends are everywhere
COMPILE_WAIT_S = 10.0  # how long a write waits to hear what it may break


class _UnjudgedError(Exception):
    """A write begins a drain, and what that breaks has not been looked at as of this revision."""


class Controller:
    """``async with controller.run():`` starts it; reads and writes work from then on."""

    def __init__(
        self,
        store: Store,
        compiler: Compiler,
        directors: Sequence[Director],
        *,
        probe: Probe = check,
        now: Callable[[], datetime] = utc_now,
        gap_s: float = GAP_S,
        report_key: bytes | None = None,
    ) -> None:
        self.store = store
        self._compiler = compiler
        self._directors = {director.name: director for director in directors}
        self._gap_s = gap_s
        self._monitor = Monitor(store.health(), self._health_changed, probe=probe, now=now)
        self._drains = DrainWatch(report_key)
        self._dirty = asyncio.Event()
        self._compiling = False
        self._compiled = asyncio.Condition()
        self._attempted = 0  # revision of the last compile, good or bad
        self._inputs: object = None  # of the last good compile
        self._snapshot: Snapshot | None = None
        self._found = Report()
        self._trouble: Trouble | None = None
        self._unsaved: dict[int, HealthRecord] = {}
        self._lists_dirty = asyncio.Event()
        self._lists: ListsFile | None = None
        self._running = False
        self.compiles, self.compile_s = 0, 0.0  # so many, good or bad; the time that they took

    @asynccontextmanager
    async def run(self) -> AsyncIterator["Controller"]:
        """Run health checks, compiler and directors until the block ends. Forwarders go on after it."""
        self._dirty.set()
        self._lists_dirty.set()
        self._running = True
        directors = (director.run() for director in self._directors.values())
        watch = self._drains.run(lambda: self.desired)
        work = [self._compile_loop(), self._lists_loop(), self._settle_loop(), watch, *directors]
        tasks = [asyncio.create_task(one) for one in work]
        try:
            yield self
        finally:
            self._running = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._monitor.close()
            await self._save_health()

    # ---- reading ----

    @property
    def desired(self) -> Desired:
        return self.store.current()

    def backend_status(self, pool: str, backend: str) -> BackendStatus:
        """Return one backend's observed status. Raises NotFoundError."""
        return self._backend_status(self.desired, pool, self.desired.backend(pool, backend))

    def backend_statuses(self, pool: str | None = None) -> list[BackendStatus]:
        """Return the status of every backend, or of one pool's. Raises NotFoundError."""
        state = self.desired
        pools = state.document.pools if pool is None else (state.pool(pool),)
        return [self._backend_status(state, p.name, backend) for p in pools for backend in p.backends]

    def _backend_status(self, state: Desired, pool: str, backend: Backend) -> BackendStatus:
        number = state.ids[desired.backend_path(pool, backend.name)]
        record = self._monitor.record(number)
        assert backend.state is not None
        return BackendStatus(
            pool=pool,
            backend=backend.name,
            id=number,
            state=backend.state,
            health=record.health,
            since=record.since,
            detail=record.detail,
            available=backend.state == State.ACTIVE
            and record.health != Health.UNHEALTHY
            and backend.weight > 0,
            connections=self._drains.left(number),
            path_mtus=tuple(way for d in self._directors.values() if (way := d.way_mtu(number))),
        )

    def allow_list(self, pool: str) -> str:
        """Return who may send to the backends of ``pool``, as glb-redirect reads it. Raises NotFoundError."""
        state = self.desired
        sources = {source for director in self._directors.values() for source in director.sources}
        return allow_list.allow_list(state, pool, sources | allow_list.own_addresses(state, pool))

    @property
    def compile_trouble(self) -> Trouble | None:
        """Why the newest revision does not compile; None: it does."""
        return self._trouble

    def checks(self) -> Mapping[int, Checks]:
        """Return how many health checks there were, by backend id."""
        return self._monitor.checks

    def director_statuses(self) -> list[DirectorStatus]:
        return [self.director_status(name) for name in self._directors]

    def director_status(self, name: str) -> DirectorStatus:
        if name not in self._directors:
            raise NotFoundError(f"directors/{name}")
        status = self._directors[name].status(self._backend_paths())
        # What a health check found, or a write, may be on its way into a snapshot: then none is the newest.
        newest = not self._dirty.is_set() and not self._compiling
        return status.model_copy(update={"in_force": status.in_force and newest})

    def _backend_paths(self) -> dict[int, str]:
        state = self.desired
        return {
            state.ids[desired.backend_path(pool.name, backend.name)]: f"{pool.name}/{backend.name}"
            for pool in state.document.pools
            for backend in pool.backends
        }

    def status(self) -> ControllerStatus:
        directors = tuple(self.director_statuses())
        alarms = self._pool_alarms(self.desired)
        if self._trouble is not None:
            alarms.append(f"the desired state does not compile: {self._trouble.message}")
        available = {f"{b.pool}/{b.backend}" for b in self.backend_statuses() if b.available}
        alarms += [alarm for director in directors for alarm in director.alarms(available)]
        return ControllerStatus(
            revision=self.desired.revision,
            compiled_revision=self._snapshot.revision if self._snapshot else None,
            compile_trouble=self._trouble,
            alarms=tuple(alarms),
            directors=directors,
        )

    def _pool_alarms(self, state: Desired) -> list[str]:
        alarms = []
        for service in state.document.services:
            pool = state.pool(service.pool)
            if not any(self._backend_status(state, pool.name, b).available for b in pool.backends):
                alarms.append(f"service {service.name}: no backend of pool {pool.name} is available")
        return alarms

    # ---- writing ----

    async def apply(
        self, document: Document, *, prune: bool = False, dry_run: bool = False, force: bool = False,
        actor: str = "-",
    ) -> WriteResult:  # fmt: skip
        """Create or replace all that ``document`` has, as one revision; ``prune`` removes what it has not.

        Raises GuardError, as all writes that drain, unless ``force``.
        """
        return await self._write(
            lambda state: desired.merge(state.document, document, prune),
            action="apply --prune" if prune else "apply",
            actor=actor,
            secret=bytes.fromhex(document.secret) if document.secret is not None else None,
            sent=_pointers(document),
            dry_run=dry_run,
            force=force,
        )

    async def plan(self, document: Document, *, prune: bool = False) -> Plan:
        """Say what applying ``document`` would do to connections, compared with the present revision."""
        secret = bytes.fromhex(document.secret) if document.secret is not None else None
        written = await asyncio.to_thread(
            self.store.write,
            lambda state: desired.merge(state.document, document, prune),
            actor="-", action="plan", secret=secret, sent=_pointers(document), dry_run=True,
        )  # fmt: skip
        running = self._snapshot
        health = self._health(written.before) | self._health(written.after)
        if running is not None and running.revision != written.before.revision:
            running = None  # it is being compiled just now
        before = Side(written.before, self.store.secret, health, running.data if running else None)
        after = Side(written.after, secret or self.store.secret, health)
        return await asyncio.to_thread(make_plan, before, after)

    async def put_service(
        self, service: Service, *, expect: Expect | None = None, actor: str = "-"
    ) -> WriteResult:
        return await self._write(
            lambda state: desired.put_service(state.document, service),
            action="put", actor=actor, path=desired.service_path(service.name), expect=expect,
            sent={service.name: ""},
        )

    async def delete_service(
        self, name: str, *, expect: Expect | None = None, actor: str = "-"
    ) -> WriteResult:
        return await self._write(
            lambda state: desired.remove_service(state, name),
            action="delete", actor=actor, path=desired.service_path(name), expect=expect,
        )

    async def put_pool(
        self, pool: Pool, *, expect: Expect | None = None, force: bool = False, actor: str = "-"
    ) -> WriteResult:
        """Create or replace a pool with its backends. One without a state keeps the state that it has."""
        return await self._write(
            lambda state: desired.put_pool(state.document, pool),
            action="put", actor=actor, path=desired.pool_path(pool.name), expect=expect, force=force,
        )

    async def delete_pool(self, name: str, *, expect: Expect | None = None, actor: str = "-") -> WriteResult:
        return await self._write(
            lambda state: desired.remove_pool(state, name),
            action="delete", actor=actor, path=desired.pool_path(name), expect=expect,
        )

    async def put_backend(
        self, pool: str, backend: Backend, *, expect: Expect | None = None, force: bool = False,
        actor: str = "-",
    ) -> WriteResult:  # fmt: skip
        return await self._write(
            lambda state: desired.put_backend(state, pool, backend),
            action="put", actor=actor, path=desired.backend_path(pool, backend.name), expect=expect,
            force=force,
        )

    async def delete_backend(
        self, pool: str, name: str, *, expect: Expect | None = None, actor: str = "-"
    ) -> WriteResult:
        return await self._write(
            lambda state: desired.remove_backend(state, pool, name),
            action="delete", actor=actor, path=desired.backend_path(pool, name), expect=expect,
        )

    async def drain(self, pool: str, name: str, *, force: bool = False, actor: str = "-") -> WriteResult:
        """Send new connections elsewhere; those that live on the backend go on, by second chance."""
        return await self._write(
            lambda state: desired.drain(state, pool, name),
            action="drain", actor=actor, path=desired.backend_path(pool, name), force=force,
        )

    async def undrain(self, pool: str, name: str, *, actor: str = "-") -> WriteResult:
        """Make a draining backend active again."""
        return await self._write(
            lambda state: desired.undrain(state, pool, name),
            action="undrain", actor=actor, path=desired.backend_path(pool, name),
        )

    # ---- source lists ----

    def lists(self) -> list[ListInfo]:
        """Return all source lists by name, without prefixes."""
        return self.store.lists()

    def lists_in_force(self) -> bool:
        """Tell whether every director has the newest lists."""
        newest = self._lists is not None and not self._lists_dirty.is_set()
        return newest and all(director.lists_confirmed for director in self._directors.values())

    async def list_text(self, name: str) -> tuple[ListInfo, bytes]:
        """Return a list, and its prefixes as text. Raises NotFoundError."""
        return await asyncio.to_thread(self.store.list_text, name)

    async def write_list(
        self, name: str, change: Change, text: bytes, *, expect: Expect | None = None, actor: str = "-"
    ) -> ListWritten:
        """Put a list's prefixes, or add or remove some. Raises InvalidInputError with line and fix, too."""
        loop = asyncio.get_running_loop()

        def work() -> ListWritten:
            tidy, _ = tidy_prefixes(text)
            written = self.store.write_list(name, change, tidy, expect=expect, actor=actor)
            if written.changed:
                loop.call_soon_threadsafe(self._lists_dirty.set)
            return written

        written = await asyncio.to_thread(work)
        if written.changed:
            log.info("list %s by %s: %s, %d prefixes", name, actor, change, written.after.prefixes)
        return written

    async def delete_list(self, name: str, *, expect: Expect | None = None, actor: str = "-") -> None:
        """Delete a list that no service names."""
        await asyncio.to_thread(self.store.delete_list, name, expect=expect)
        log.info("list %s by %s: deleted", name, actor)
        self._lists_dirty.set()

    async def _lists_loop(self) -> None:
        while True:
            await self._lists_dirty.wait()
            self._lists_dirty.clear()
            self._lists = None  # none are the newest until they are compiled
            try:
                lists = await asyncio.to_thread(lambda: compile_file(self.store.list_texts()))
            except GlbError as error:
                log.error("the lists do not compile: %s", error)
                continue
            for director in self._directors.values():
                director.want_lists(lists)
            self._lists = lists
            await asyncio.sleep(self._gap_s)

    async def rollback(
        self, number: int, *, dry_run: bool = False, force: bool = False, actor: str = "-"
    ) -> WriteResult:
        """Make the state of revision ``number`` the wanted one again, as a new revision, states included.

        What was filling then is wanted active, as it became by itself.
        """
        state = await asyncio.to_thread(self.store.state, number)
        document = settling.activate(state, state.filling)
        return await self._write(
            lambda state: document, action=f"rollback to {number}", actor=actor, dry_run=dry_run, force=force
        )

    async def _write(
        self,
        edit: Edit,
        *,
        action: str,
        actor: str,
        path: str | None = None,
        expect: Expect | None = None,
        secret: bytes | None = None,
        sent: Mapping[str, str] | None = None,
        dry_run: bool = False,
        force: bool = False,
    ) -> WriteResult:
        loop = asyncio.get_running_loop()
        words = action if path is None else f"{action} {path}"
        judged: int | None = -1 if force else None  # the revision that drains were judged by; -1: all

        def checked(state: Desired) -> Document:
            if path is not None:
                desired.check_version(state, path, expect)
            document = edit(state)
            if judged != -1 and (refused := guard.emptied(state, document, self._health(state))):
                raise guard.GuardError(refused)
            if judged not in (-1, state.revision) and guard.begun(state.document, document):
                raise _UnjudgedError
            return document

        def store(dry_run: bool) -> Written:
            return self.store.write(
                checked, actor=actor, action=words, secret=secret, sent=sent, dry_run=dry_run,
                fill_first=len(self._directors) > 1,
            )  # fmt: skip

        def work() -> Written:
            nonlocal judged
            while True:
                try:
                    written = store(dry_run)
                    break
                except _UnjudgedError:
                    # A compile may take long, and a transaction must not; another write may come between.
                    judged = -1
                    planned = store(dry_run=True)
                    judged = planned.before.revision
                    self._judge_drains(planned, secret or self.store.secret)
            if not dry_run:
                # From the thread: also when the caller has been cancelled meanwhile, the change takes effect.
                loop.call_soon_threadsafe(self._dirty.set)
            return written

        written = await asyncio.to_thread(work)
        leavers: tuple[Leaver, ...] = ()
        known = set(remarks(written.before.document))
        warnings = [remark for remark in remarks(written.after.document) if remark not in known]
        warnings += draining.remarks(written.before.document, written.after.document)
        if written.changed and not dry_run:
            log.info("revision %d by %s: %s", written.after.revision, actor, words)
            leavers, more = await self._consequences(written)
            warnings += more
        return WriteResult(
            revision=written.before.revision if dry_run else written.after.revision,
            changed=written.changed,
            created=path is not None and path not in written.before.versions,
            version=written.after.versions.get(path) if path is not None else None,
            dry_run=dry_run,
            changes=tuple(desired.diff(written.before.document, written.after.document)),
            notes=() if action == "undrain" else tuple(
                f"{ended}: its drain has ended, it takes new connections again"
                for ended in desired.ended_drains(written.before.document, written.after.document)
            ),
            warnings=(*warnings, *map(str, leavers)),
            leavers=leavers,
        )

    def _judge_drains(self, planned: Written, secret: bytes) -> None:
        """Raise GuardError when a drain breaks what it promises to keep. Blocks for a compile."""
        if self._snapshot is None:
            return
        health = self._health(planned.before) | self._health(planned.after)
        try:
            found = self._report(self._compiler.compile(planned.after, secret, health))
        except Exception as error:  # of ours, too: the compile loop will say so, the write takes effect
            log.debug("guard rails: %s", error)
            return
        begun = guard.begun(planned.before.document, planned.after.document)
        if refused := guard.broken(planned.after.document, begun, found.leavers):
            raise guard.GuardError(refused)

    async def _consequences(self, written: Written) -> tuple[tuple[Leaver, ...], list[str]]:
        """Wait for the compile of what was written; return who leaves chains, and other warnings."""
        before = set(self._pool_alarms(written.before))
        warnings = [alarm for alarm in self._pool_alarms(written.after) if alarm not in before]
        if not self._running:
            return (), warnings
        try:
            async with asyncio.timeout(COMPILE_WAIT_S), self._compiled:
                await self._compiled.wait_for(lambda: self._attempted >= written.after.revision)
        except TimeoutError:
            return (), [*warnings, "the snapshot is still being compiled: see the directors' status"]
        if self._trouble is not None:
            return (), [*warnings, f"stored, but it does not compile: {self._trouble.message}"]
        return self._found.leavers, [*warnings, *map(str, self._found.surprises)]

    async def wait(self, revision: int, timeout_s: float = 30.0) -> None:
        """Return once every director has confirmed ``revision``. Raises ForwarderError, code ``timeout``."""
        try:
            async with asyncio.timeout(timeout_s):
                for director in self._directors.values():
                    await director.wait(revision)
        except TimeoutError:
            troubles = [str(t.message) for d in self.director_statuses() if (t := d.trouble) is not None]
            if self._trouble is not None:
                troubles.append(self._trouble.message)
            reason = "; ".join(troubles) or "no director says why"
            text = f"revision {revision} was not confirmed within {timeout_s:g} s: {reason}"
            raise ForwarderError(text, "timeout") from None

    # ---- the loop ----

    def _health_changed(self, number: int, record: HealthRecord | None) -> None:
        """From the monitor: a backend's health turned over, or (None) is not known any more."""
        self._unsaved[number] = record if record is not None else HealthRecord()
        self._dirty.set()

    async def _compile_loop(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            self._compiling = True
            await self._save_health()
            try:
                await self._compile()
            except GlbError as error:
                self._fail(Trouble(code="refused", message=str(error)))
            except Exception as error:  # a fault of ours must not end the loop: later changes may compile
                log.exception("the compile loop failed")
                self._fail(Trouble(code="internal", message=f"{type(error).__name__}: {error}"))
            self._compiling = False
            async with self._compiled:
                self._compiled.notify_all()
            await asyncio.sleep(self._gap_s)

    def _fail(self, trouble: Trouble) -> None:
        if trouble != self._trouble:
            log.error("revision %d does not compile: %s", self._attempted, trouble.message)
        self._trouble = trouble

    async def _save_health(self) -> None:
        unsaved, self._unsaved = self._unsaved, {}
        for number, record in unsaved.items():
            try:
                await asyncio.to_thread(self.store.save_health, number, record)
            except GlbError as error:  # checks go on, and the next change tries again
                log.error("health of backend %d is not saved: %s", number, error)
                self._unsaved.setdefault(number, record)

    async def _compile(self) -> None:
        state = await asyncio.to_thread(self.store.current)
        try:
            await self._compile_state(state)
        finally:
            self._attempted = state.revision  # not before: writes wait for it, to hear what came of them

    async def _compile_state(self, state: Desired) -> None:
        secret = self.store.secret
        self._monitor.watch(targets(state))
        health = self._health(state)
        inputs = (state.revision, secret, health)
        if inputs == self._inputs:
            return
        began = time.monotonic()
        try:
            snapshot = await asyncio.to_thread(self._compiler.compile, state, secret, health)
        finally:
            self.compiles += 1
            self.compile_s += time.monotonic() - began
        found = await asyncio.to_thread(self._report, snapshot)
        for text in (*found.leavers, *found.surprises):
            log.warning("revision %d: %s", state.revision, text)
        self._found = found
        self._inputs, self._snapshot, self._trouble = inputs, snapshot, None
        for director in self._directors.values():
            director.want(snapshot)


    def _health(self, state: Desired) -> dict[int, Health]:
        return {number: self._monitor.record(number).health for number in settling.backend_ids(state)}

    def _report(self, snapshot: Snapshot) -> Report:
        running = {name: director.running for name, director in self._directors.items()}
        return report(self._compiler, running, self._snapshot, snapshot)

    async def _settle_loop(self) -> None:
        """Forget what has settled, and end the filling of backends that every director has."""
        while True:
            await asyncio.sleep(SETTLE_S)
            try:
                if await asyncio.to_thread(self._settle):
                    self._dirty.set()
            except GlbError as error:
                log.error("settling: %s", error)

    def _settle(self) -> bool:
        changed = self.store.settle().changed
        confirmed = [director.confirmed for director in self._directors.values()]
        revisions = [snapshot.revision for snapshot in confirmed if snapshot is not None]
        if len(revisions) < len(confirmed):
            return changed
        paths = settling.filled(self.desired, min(revisions))
        if paths:
            action = f"filled {', '.join(sorted(paths))}"
            changed |= self.store.write(
                lambda state: settling.activate(state, paths), actor="controller", action=action
            ).changed
            log.info("%s: every director has them, they take new connections now", action)
        return changed


def _pointers(document: Document) -> dict[str, str]:
    """Return where the services of a writer's document are in it."""
    return {service.name: f"/services/{index}" for index, service in enumerate(document.services)}


def targets(state: Desired) -> dict[int, Target]:
    """Return what is to be checked, by backend id. Inactive backends are checked too: they may come back.

    So are those that were removed, while connections to them settle: a dead hop hides those behind it.
    """
    gone = settling.settling_members(state)
    found = {}
    for pool in state.document.pools:
        if pool.health_check is None:
            continue
        wanted = endpoints(pool, state.document.services)
        for backend in pool.backends:
            number = state.ids[desired.backend_path(pool.name, backend.name)]
            found[number] = Target(backend.address, pool.health_check, wanted)
        for member in gone.get(pool.name, ()):
            found[member.id] = Target(member.address, pool.health_check, wanted)
    return found
