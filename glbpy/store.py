"""The store: revisions of the desired state in SQLite, the cluster secret, and the last known health.

Every write is one transaction and makes one revision, or none when nothing changes. A revision keeps
the whole state, so listing, comparing and rolling back need nothing else; revisions are never deleted. One
connection behind a lock: any thread may call. current() and secret never wait, so an event loop may call them
while a thread writes. One process at a time has a store; a second one is refused.
"""

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from glbpy import desired, keys, settling, source_lists
from glbpy.desired import Desired, Edit, Expect
from glbpy.errors import ConflictError, NotFoundError, StaleError, StoreError
from glbpy.models import Backend, Document, Health, Model, State, check_lists, check_whole, lists_of
from glbpy.prior import Member, Prior
from glbpy.source_lists import ListInfo, ListWritten

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE revision (
    number INTEGER PRIMARY KEY,
    created_at TEXT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    document TEXT NOT NULL,
    ids TEXT NOT NULL,
    versions TEXT NOT NULL,
    settling TEXT NOT NULL
) STRICT;
CREATE TABLE list (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    prefixes INTEGER NOT NULL,
    updated_at TEXT NOT NULL,
    actor TEXT NOT NULL,
    text BLOB NOT NULL
) STRICT;
CREATE TABLE health (
    backend INTEGER PRIMARY KEY,
    health TEXT NOT NULL,
    since TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
"""


class Revision(Model):
    """A numbered state of what the operators want, made by a write. ``document`` is None in lists."""

    number: int
    created_at: datetime
    actor: str
    action: str
    document: Document | None = None


class HealthRecord(Model):
    """The last known health of a backend, since when, and what the last check said."""

    health: Health = Health.UNKNOWN
    since: datetime | None = None
    detail: str = ""


@dataclass(frozen=True)
class Written:
    """A write's outcome. ``after`` is ``before`` itself when nothing changed."""

    before: Desired
    after: Desired

    @property
    def changed(self) -> bool:
        return self.after is not self.before


def utc_now() -> datetime:
    return datetime.now(UTC)


class Store:
    """A store file; made, readable for its owner alone, when it does not exist. Raises StoreError."""

    def __init__(self, path: Path, now: Callable[[], datetime] = utc_now) -> None:
        self.path = path
        self._now = now
        self._lock = threading.RLock()
        self._current = Desired()
        self._secret = b""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file_lock = open(path.with_name(path.name + ".lock"), "w")  # noqa: SIM115 - held until close()
        except OSError as error:
            raise StoreError(f"cannot open the store {path}: {error}") from error
        try:
            fcntl.flock(self._file_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file_lock.close()
            raise StoreError(f"the store {path} is in use by another `glb serve`") from None
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        except (OSError, sqlite3.Error) as error:
            self._file_lock.close()
            raise StoreError(f"cannot open the store {path}: {error}") from error
        try:
            self._prepare()
        except (sqlite3.Error, StoreError) as error:
            self.close()
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"cannot use the store {path}: {error}") from error

    def close(self) -> None:
        """Close the file and let another process have it. Twice is fine."""
        with self._lock:
            self._db.close()
            self._file_lock.close()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"the store {self.path} has schema {version}, made by a newer glbpy; "
                    f"this one knows {SCHEMA_VERSION}"
                )
            if version == 0:
                for statement in SCHEMA.split(";"):
                    self._db.execute(statement)
                self._set_meta("secret", keys.new_secret())
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            newest = self._db.execute("SELECT max(number) FROM revision").fetchone()[0] or 0
            self._current = self._load(newest)
            self._secret = self._meta("secret") or b""

    @contextmanager
    def _transaction(self, keep: bool = True) -> Iterator[None]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._db.execute("COMMIT" if keep else "ROLLBACK")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise StoreError(f"the store {self.path} failed: {error}") from error

    # ---- desired state ----

    @property
    def secret(self) -> bytes:
        """The cluster secret, made at first start. Never waits."""
        return self._secret

    def current(self) -> Desired:
        """Return the desired state as of the newest revision. Never waits."""
        return self._current

    def write(
        self,
        edit: Edit,
        *,
        actor: str,
        action: str,
        secret: bytes | None = None,
        sent: Mapping[str, str] | None = None,
        dry_run: bool = False,
        fill_first: bool = False,
    ) -> Written:
        """Change the desired state: all of ``edit``, or, when it or a check raises, nothing.

        ``edit`` gets the current state and returns the whole new document; it must not call the store. A
        ``secret`` that differs is taken only while there are no services. ``sent`` says where errors point
        (check_whole). With ``dry_run`` nothing is kept. With ``fill_first`` backends that would begin to take
        connections are filling, until a later write makes them active.
        Raises DocumentError, ConflictError, StoreError, and what ``edit`` raises.
        """
        with self._lock:
            before = after = self._current
            with self._transaction(keep=not dry_run):
                document, filling = edit(before), before.filling
                check_whole(document, sent)
                check_lists(document, self._list_names(), sent)
                if secret is not None:
                    self._adopt_secret(secret, before)
                if fill_first:
                    document, filling = settling.fill_first(before, document)
                if document != before.document:
                    after = self._next(before, document, filling)
                    self._insert(after, actor, action)
            if not dry_run:
                self._current = after
                self._secret = self._meta("secret") or b""
            return Written(before, after)

    def settle(self) -> Written:
        """Forget the priors that have settled, as a revision of its own; none where there are none."""
        with self._lock:
            before = after = self._current
            expiry = settling.next_expiry(before)
            if expiry is not None and expiry <= self._now():
                with self._transaction():
                    after = self._next(before, before.document, before.filling)
                    self._insert(after, "controller", "settle")
                self._current = after
            return Written(before, after)

    def _adopt_secret(self, secret: bytes, before: Desired) -> None:
        if secret == self._secret:
            return
        if before.document.services:
            raise ConflictError(
                "the document's secret is not this cluster's, and taking it would rehash every service: "
                "leave it out, or apply it to a store without services"
            )
        self._set_meta("secret", secret)

    def _next(self, before: Desired, document: Document, filling: frozenset[str]) -> Desired:
        """Number the revision, give new things ids, raise the version of what changed, keep prior states."""
        number = before.revision + 1
        old, new = desired.resources(before.document), desired.resources(document)
        versions = {
            path: before.versions[path] if path in old and old[path] == value else number
            for path, value in new.items()
        }
        ids = {}
        settled = settling.settling_members(before)
        for service in document.services:
            path = desired.service_path(service.name)
            ids[path] = before.ids.get(path) or self._new_id("service")
        for pool in document.pools:
            for backend in pool.backends:
                path = desired.backend_path(pool.name, backend.name)
                known = old.get(path)
                # Another address is another server: neither counters, health nor connections carry over.
                same = known is not None and getattr(known, "address", None) == backend.address
                ids[path] = before.ids[path] if same else self._id_again(settled.get(pool.name, ()), backend)
        left = {path for path in filling if getattr(new.get(path), "state", None) == State.FILLING}
        after = Desired(number, document, ids, versions, filling=frozenset(left))
        return replace(after, priors=settling.next_priors(before, after, self._now()))

    def _id_again(self, settling_members: Sequence[Member], backend: Backend) -> int:
        """Return the id of a backend that comes back while it settles, or a new one."""
        for member in settling_members:
            if (member.name, member.address) == (backend.name, backend.address):
                return member.id
        return self._new_id("backend")

    def _new_id(self, kind: str) -> int:
        """Return an id, ≥ 1, that no other thing of this kind has or had."""
        number = int(self._meta(f"next_{kind}_id") or b"1")
        self._set_meta(f"next_{kind}_id", str(number + 1).encode())
        return number

    def _insert(self, state: Desired, actor: str, action: str) -> None:
        self._db.execute(
            "INSERT INTO revision VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                state.revision,
                self._now().isoformat(),
                actor,
                action,
                state.document.model_dump_json(exclude_none=True),
                json.dumps(state.ids),
                json.dumps(state.versions),
                json.dumps(_settling_to_json(state)),
            ),
        )
        # Forget the health of backends that are gone and settled; ids are not used again.
        kept = set(settling.backend_ids(state))
        gone = [(i,) for (i,) in self._db.execute("SELECT backend FROM health") if i not in kept]
        self._db.executemany("DELETE FROM health WHERE backend = ?", gone)

    def _load(self, number: int) -> Desired:
        if number == 0:
            return Desired()
        row = self._db.execute(
            "SELECT document, ids, versions, settling FROM revision WHERE number = ?", (number,)
        ).fetchone()
        if row is None:
            raise NotFoundError(f"revisions/{number}")
        left = json.loads(row[3])
        known: dict[int, Desired] = {}
        return Desired(
            number,
            Document.model_validate_json(row[0]),
            json.loads(row[1]),
            json.loads(row[2]),
            {
                path: tuple(self._prior(path, revision, at, known) for revision, at in priors)
                for path, priors in left["priors"].items()
            },
            frozenset(left["filling"]),
        )

    def _prior(self, path: str, revision: int, ended_at: str, known: dict[int, Desired]) -> Prior:
        """Return the state of a service's rows in a revision, from the store."""
        if revision not in known:
            document, ids = self._db.execute(
                "SELECT document, ids FROM revision WHERE number = ?", (revision,)
            ).fetchone()
            known[revision] = Desired(revision, Document.model_validate_json(document), json.loads(ids))
        state = known[revision]
        service = state.service(path.removeprefix("services/"))
        return settling.prior_of(state, service, datetime.fromisoformat(ended_at))

    # ---- revisions ----

    def revisions(self, limit: int = 50, before: int | None = None) -> list[Revision]:
        """Return up to ``limit`` revisions older than ``before``, newest first, without documents."""
        with self._lock:
            rows = self._db.execute(
                "SELECT number, created_at, actor, action FROM revision WHERE number < ? "
                "ORDER BY number DESC LIMIT ?",
                (before if before is not None else 1 << 62, limit),
            ).fetchall()
        return [Revision(number=n, created_at=at, actor=who, action=what) for n, at, who, what in rows]

    def revision(self, number: int) -> Revision:
        """Return one revision with its document. Raises NotFoundError."""
        with self._lock:
            row = self._db.execute(
                "SELECT created_at, actor, action, document FROM revision WHERE number = ?", (number,)
            ).fetchone()
        if row is None:
            raise NotFoundError(f"revisions/{number}")
        document = Document.model_validate_json(row[3])
        return Revision(number=number, created_at=row[0], actor=row[1], action=row[2], document=document)

    def written_at(self, numbers: Collection[int]) -> dict[int, datetime]:
        """Return when these revisions were written; those that are not there are left out."""
        query = "SELECT number, created_at FROM revision WHERE number = ?"
        with self._lock:
            rows = [row for number in numbers for row in self._db.execute(query, (number,))]
        return {number: datetime.fromisoformat(at) for number, at in rows}

    def state(self, number: int) -> Desired:
        """Return the desired state as of a revision. Raises NotFoundError."""
        if number == 0:  # the empty state before the first
            raise NotFoundError("revisions/0")
        with self._lock:
            return self._load(number)

    def diff(self, before: int, after: int) -> list[desired.Change]:
        """Return what changed from one revision to another; 0 is the empty state before the first."""
        old = self.revision(before).document if before else Document()
        new = self.revision(after).document if after else Document()
        assert old is not None
        assert new is not None
        return desired.diff(old, new)

    # ---- health ----

    def health(self) -> dict[int, HealthRecord]:
        """Return the last known health by backend id."""
        with self._lock:
            rows = self._db.execute("SELECT backend, health, since, detail FROM health").fetchall()
        return {b: HealthRecord(health=Health(h), since=since, detail=text) for b, h, since, text in rows}

    def save_health(self, backend: int, record: HealthRecord | None) -> None:
        """Keep a backend's health over a restart; None forgets it. Makes no revision."""
        with self._transaction():
            if record is None or record.since is None:
                self._db.execute("DELETE FROM health WHERE backend = ?", (backend,))
            else:
                self._db.execute(
                    "INSERT OR REPLACE INTO health VALUES (?, ?, ?, ?)",
                    (backend, record.health.value, record.since.isoformat(), record.detail),
                )

    # ---- source lists: no part of a revision ----

    def lists(self) -> list[ListInfo]:
        """Return all lists by name, without prefixes."""
        query = "SELECT name, version, prefixes, updated_at, actor FROM list ORDER BY name"
        with self._lock:
            rows = self._db.execute(query).fetchall()
        return [_list_info(row) for row in rows]

    def list_text(self, name: str) -> tuple[ListInfo, bytes]:
        """Return a list, and its prefixes as text. Raises NotFoundError."""
        with self._lock:
            found = self._list(name)
        if found is None:
            raise NotFoundError(f"lists/{name}")
        return found

    def list_texts(self) -> dict[str, bytes]:
        """Return the prefixes of all lists as text."""
        with self._lock:
            return dict(self._db.execute("SELECT name, text FROM list ORDER BY name"))

    def write_list(
        self, name: str, change: source_lists.Change, text: bytes, *, expect: Expect | None = None, actor: str
    ) -> ListWritten:
        """Replace a list's prefixes, or add or remove some; ``text`` is tidy. ``put`` makes one.

        Raises NotFoundError, StaleError, StoreError. Nothing changes, and no version, where nothing differs.
        """
        with self._transaction():
            before = self._list(name)
            _check_list_version(name, before, expect)
            if before is None and change != "put":
                raise NotFoundError(f"lists/{name}")
            fresh, prefixes = source_lists.changed_text(change, before[1] if before else b"", text)
            if before is not None and fresh == before[1]:
                return ListWritten(before[0], before[0])
            version = self._new_id("list_version")
            row = (name, version, prefixes, self._now().isoformat(), actor)
            self._db.execute("INSERT OR REPLACE INTO list VALUES (?, ?, ?, ?, ?, ?)", (*row, fresh))
            return ListWritten(before[0] if before else None, _list_info(row))

    def delete_list(self, name: str, *, expect: Expect | None = None) -> None:
        """Raises NotFoundError, StaleError, StoreError; ConflictError while a service names it."""
        with self._transaction():
            before = self._list(name)
            if before is None:
                raise NotFoundError(f"lists/{name}")
            _check_list_version(name, before, expect)
            users = list_users(self._current.document, name)
            if users:
                text = f"list {name} is used by service {', '.join(users)}; change or delete that first"
                raise ConflictError(text)
            self._db.execute("DELETE FROM list WHERE name = ?", (name,))

    def _list(self, name: str) -> tuple[ListInfo, bytes] | None:
        query = "SELECT name, version, prefixes, updated_at, actor, text FROM list WHERE name = ?"
        row = self._db.execute(query, (name,)).fetchone()
        return None if row is None else (_list_info(row[:5]), bytes(row[5]))

    def _list_names(self) -> set[str]:
        return {name for (name,) in self._db.execute("SELECT name FROM list")}

    # ---- small things ----

    def _meta(self, key: str) -> bytes | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return bytes(row[0]) if row else None

    def _set_meta(self, key: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def list_users(document: Document, name: str) -> list[str]:
    """Return the services that name a source list."""
    return [service.name for service in document.services if name in lists_of(service).values()]


def _list_info(row: Sequence[Any]) -> ListInfo:
    name, version, prefixes, updated_at, actor = row
    return ListInfo(name=name, version=version, prefixes=prefixes, updated_at=updated_at, actor=actor)


def _check_list_version(name: str, before: tuple[ListInfo, bytes] | None, expect: Expect | None) -> None:
    version = before[0].version if before else None
    if expect is not None and not expect.holds(None if version is None else str(version)):
        raise StaleError(f"lists/{name}", version)


def _settling_to_json(state: Desired) -> dict[str, object]:
    """Return what a change left behind; a prior state is a revision, and when that ended."""
    priors = {
        path: [(prior.revision, prior.ended_at.isoformat()) for prior in priors]
        for path, priors in state.priors.items()
    }
    return {"priors": priors, "filling": sorted(state.filling)}
