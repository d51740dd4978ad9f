"""One director as the controller sees it: gets the wanted snapshot into its forwarder, and keeps it there.

An empty store never takes the place of what a forwarder has: a lost store must not stop the traffic.
Adopts a forwarder that runs, starts one that does not (when told how), loads again after a restart, and
retries with bounded back-off. Never stops a forwarder: packets flow on without the control plane.

The wanted snapshot is written to ``<snapshot>.next`` and loaded from there. The forwarder itself keeps what
it loaded at ``<snapshot>``, from which it starts alone: nobody else writes that file.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from glbpy.errors import ForwarderError, GlbError
from glbpy.forwarder import ForwarderStatus, Loaded, LoadedLists
from glbpy.seen import details
from glbpy.snapshot import Compiler, Snapshot, write_file
from glbpy.source_lists import ListsFile
from glbpy.status import DirectorStatus, FlowCacheUse, ListMissing, ListsSeen, Trouble, WayMtu

log = logging.getLogger(__name__)

POLL_S = 0.5  # how often a quiet forwarder is asked how it is
BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # between attempts while it is away or refuses


class Client(Protocol):
    """glbpy.forwarder.Forwarder, or what a test injects. Methods block."""

    def load(self, path: str | os.PathLike[str]) -> Loaded: ...

    def load_lists(self, path: str | os.PathLike[str]) -> LoadedLists: ...

    def status(self) -> ForwarderStatus: ...


class Director:
    """``launch`` starts a forwarder that outlives this process; it returns the pid. None: not ours."""

    def __init__(
        self,
        name: str,
        snapshot_path: Path,
        client: Client,
        compiler: Compiler,
        launch: Callable[[], int] | None = None,
        *,
        sources: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.sources = tuple(sources)  # outer addresses and prefixes that its packets come from
        self.snapshot_path = snapshot_path
        self.running: Snapshot | None = None  # what the forwarder forwards from, when it is known
        self._client = client
        self._compiler = compiler
        self._launch = launch
        self._wanted: Snapshot | None = None
        self._wanted_lists: ListsFile | None = None
        self._seen: ForwarderStatus | None = None
        self._trouble: Trouble | None = None
        self._wake = asyncio.Event()
        self._moved = asyncio.Condition()

    # ---- for the controller ----

    def want(self, snapshot: Snapshot) -> None:
        """Make ``snapshot`` the wanted one. Returns at once; run() does the work."""
        self._wanted = snapshot
        self._wake.set()

    def want_lists(self, lists: ListsFile) -> None:
        """Make these source lists the wanted ones. Returns at once."""
        self._wanted_lists = lists
        self._wake.set()

    @property
    def lists_confirmed(self) -> bool:
        """Whether the forwarder has the wanted lists, or none where none are wanted."""
        wanted, seen = self._wanted_lists, self._seen
        if wanted is None or seen is None or seen.lists is None:
            return False
        return seen.lists.digest == wanted.digest or (wanted.count == 0 and seen.lists.digest is None)

    @property
    def confirmed(self) -> Snapshot | None:
        """The wanted snapshot, if the forwarder forwards from it."""
        wanted, seen = self._wanted, self._seen
        return wanted if wanted is not None and seen is not None and seen.digest == wanted.digest else None

    def way_mtu(self, number: int) -> WayMtu | None:
        """Return what a router said of the way to the backend with this id, if one did."""
        for seen in self._seen.path_mtus.backends if self._seen and self._seen.path_mtus else ():
            if seen.id == number:
                return WayMtu(director=self.name, mtu=seen.mtu, said_s=seen.said_s)
        return None

    def status(self, paths: dict[int, str] | None = None) -> DirectorStatus:
        """Return what is known now, without asking the forwarder. ``paths`` are POOL/BACKEND by id."""
        wanted, seen = self._wanted, self._seen
        known = {} if seen is None else {
            "pid": seen.pid,
            "program_version": seen.program_version,
            "uptime_s": seen.uptime_s,
            "generation": seen.generation,
            "digest": seen.digest,
            "confirmed_revision": seen.revision,
            "counters": seen.counters,
            "flow_cache": _flow_cache(seen),
            "lists": _lists(seen, self.lists_confirmed),
            "stats_path": seen.stats_path,
            **details(seen, paths or {}),
        }
        return DirectorStatus.model_validate(
            {
                "name": self.name,
                "reachable": seen is not None,
                "wanted_revision": wanted.revision if wanted else None,
                "in_force": self.confirmed is not None,
                "trouble": self._trouble,
                **known,
            }
        )

    async def wait(self, revision: int) -> None:
        """Return once the forwarder has confirmed ``revision`` or a later one."""
        async with self._moved:
            await self._moved.wait_for(
                lambda: self.confirmed is not None and self.confirmed.revision >= revision
            )

    async def run(self) -> None:
        """Work until cancelled."""
        failures = 0
        while True:
            self._wake.clear()
            try:
                await self._converge()
                failures, pause = 0, POLL_S
                self._note(self._not_kept())
            except (GlbError, OSError) as error:
                self._note(error)
                pause = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
                failures += 1
            except Exception as error:  # a fault of ours must not end the loop: later attempts may work
                log.exception("director %s", self.name)
                self._trouble = Trouble(code="internal", message=f"{type(error).__name__}: {error}")
                pause = BACKOFF_S[-1]
            async with self._moved:
                self._moved.notify_all()
            # Not wait_for(): in Python 3.11 it loses a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _not_kept(self) -> ForwarderError | None:
        """What is in force all the same, but would not be after a restart. The forwarder tries again."""
        why = self._seen.keep_error if self._seen else None
        return ForwarderError(why, "not_kept") if why else None

    def _note(self, error: GlbError | OSError | None) -> None:
        code = error.code if isinstance(error, ForwarderError) else "failed"
        trouble = None if error is None else Trouble(code=code, message=str(error))
        if trouble is not None and trouble != self._trouble:
            log.warning("director %s: %s", self.name, trouble.message)
        self._trouble = trouble

    # ---- the work ----

    async def _converge(self) -> None:
        """Ask the forwarder how it is; start it if it is away; load what is wanted if it has other."""
        seen = await self._look()
        if self.running is None or self.running.digest != seen.digest:
            self.running = await asyncio.to_thread(self._find_running, seen)
        late = await self._converge_lists()
        await self._converge_snapshot(seen)
        if late is not None:  # the lists did without one that the former snapshot wanted
            late = await self._converge_lists()
        if late is not None:
            raise late

    async def _converge_lists(self) -> ForwarderError | None:
        """Load the wanted lists if the forwarder has others; return why it refuses them."""
        wanted, seen = self._wanted_lists, self._seen
        if wanted is None or seen is None or seen.lists is None or self.lists_confirmed:
            return None
        if wanted.count == 0 and (self._wanted is None or self._wanted.revision == 0):
            return None  # a lost store takes nothing from a forwarder
        try:
            await asyncio.to_thread(self._load_lists, wanted)
        except ForwarderError as error:
            if error.code != "lists_refused":
                raise
            return error
        self._seen = await asyncio.to_thread(self._client.status)
        return None

    def _load_lists(self, lists: ListsFile) -> None:
        pending = self.snapshot_path.with_name("lists.glbl.next")
        pending.parent.mkdir(parents=True, exist_ok=True)
        write_file(pending, lists.data)
        loaded = self._client.load_lists(pending)
        if loaded.kept:
            pending.unlink()
        now = loaded.lists
        log.info("director %s: %d source lists, %d prefixes", self.name, now.count, now.prefixes)

    async def _converge_snapshot(self, seen: ForwarderStatus) -> None:
        wanted = self._wanted
        if wanted is None:
            return
        if seen.digest != wanted.digest:
            if wanted.revision == 0 and seen.digest is not None:
                raise ForwarderError(
                    f"the store is empty, but the forwarder forwards from revision {seen.revision}: it goes "
                    "on with that until a configuration is applied",
                    "empty_store",
                )
            await asyncio.to_thread(self._load, wanted)
            self.running = wanted
            self._seen = await asyncio.to_thread(self._client.status)

    async def _look(self) -> ForwarderStatus:
        try:
            seen = await asyncio.to_thread(self._client.status)
        except ForwarderError as error:
            self._seen = None
            if error.code != "unreachable" or self._launch is None:
                raise
            log.info("director %s: no forwarder runs (%s): starting one", self.name, error)
            pid = await asyncio.to_thread(self._launch)
            log.info("director %s: started forwarder, pid %d", self.name, pid)
            seen = await asyncio.to_thread(self._client.status)
        if seen.instance != self.name:
            self._seen = None
            raise ForwarderError(
                f"the forwarder at this socket is instance {seen.instance}, not {self.name}: "
                "check run_dir in the director's configuration",
                "other_instance",
            )
        if self._seen is None or self._seen.pid != seen.pid:
            log.info("director %s: forwarder %d answers, generation %d", self.name, seen.pid, seen.generation)
        self._seen = seen
        return seen

    def _find_running(self, seen: ForwarderStatus) -> Snapshot | None:
        """Return the snapshot that an adopted forwarder runs, from its file, if that is still the one."""
        if seen.digest is None or not self.snapshot_path.exists():
            return None
        try:
            snapshot = self._compiler.open(self.snapshot_path.read_bytes())
        except GlbError as error:
            log.warning("director %s: %s: %s", self.name, self.snapshot_path, error)
            return None
        return snapshot if snapshot.digest == seen.digest else None

    def _load(self, snapshot: Snapshot) -> None:
        pending = self.snapshot_path.with_name(self.snapshot_path.name + ".next")
        pending.parent.mkdir(parents=True, exist_ok=True)
        write_file(pending, snapshot.data)
        loaded = self._client.load(pending)
        if loaded.digest != snapshot.digest:
            raise ForwarderError(
                f"loaded {pending}, but the forwarder reports digest {loaded.digest}, not {snapshot.digest}",
                "other_digest",
            )
        if loaded.kept:  # else a forwarder that could not keep it has no other
            pending.unlink()
        log.info("director %s: revision %d is generation %d", self.name, loaded.revision, loaded.generation)


def _lists(seen: ForwarderStatus, in_force: bool) -> ListsSeen | None:
    lists = seen.lists
    return None if lists is None else ListsSeen(
        generation=lists.generation,
        digest=lists.digest,
        count=lists.count,
        prefixes=lists.prefixes,
        in_force=in_force,
        missing=tuple(ListMissing(service=one.service, list=one.list) for one in lists.missing),
        error=lists.last_error.message if lists.last_error else None,
    )


def _flow_cache(seen: ForwarderStatus) -> FlowCacheUse | None:
    """Return the sums over the workers that have a flow cache; None when none has."""
    caches = [worker.flows for worker in seen.workers if worker.flows is not None]
    if not caches:
        return None
    return FlowCacheUse(**{name: sum(getattr(c, name) for c in caches) for name in FlowCacheUse.model_fields})
