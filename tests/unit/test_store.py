"""The store: one write, one revision, or nothing; ids, versions, secret and health outlive the process."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from glbpy import desired
from glbpy.errors import ConflictError, DocumentError, NotFoundError, StoreError
from glbpy.models import Backend, Document, Health, State, parse
from glbpy.store import HealthRecord, Store, utc_now

BACKENDS = [{"name": f"web{n}", "address": f"10.0.0.1{n}"} for n in (1, 2, 3)]
WEB: dict[str, Any] = {
    "pools": [{"name": "web", "backends": BACKENDS}],
    "services": [{"name": "www", "vips": ["203.0.113.10"], "protocol": "tcp", "ports": [80], "pool": "web"}],
}


@pytest.fixture
def store(tmp_path: Path):
    opened = Store(tmp_path / "store.db")
    yield opened
    opened.close()


def apply(store: Store, data: object, **options: bool):
    given = parse(Document, data)
    return store.write(lambda s: desired.merge(s.document, given, **options), actor="test", action="apply")


def test_a_write_makes_one_revision_and_the_same_again_none(store: Store):
    first = apply(store, WEB)
    assert first.changed
    assert first.after.revision == 1
    assert store.current().document.pools[0].backends[0].state == State.ACTIVE
    again = apply(store, WEB)
    assert not again.changed
    assert [r.number for r in store.revisions()] == [1]


def test_only_what_changed_gets_a_new_version(store: Store):
    apply(store, WEB)
    store.write(lambda s: desired.set_state(s, "web", "web2", State.DRAINING), actor="test", action="drain")
    versions = store.current().versions
    assert versions == {
        "services/www": 1,
        "pools/web": 2,
        "pools/web/backends/web1": 1,
        "pools/web/backends/web2": 2,
        "pools/web/backends/web3": 1,
    }


def test_ids_are_stable_and_never_used_again(store: Store):
    apply(store, WEB)
    ids = dict(store.current().ids)
    assert sorted(i for path, i in ids.items() if "/backends/" in path) == [1, 2, 3]
    store.write(lambda s: desired.remove_backend(s, "web", "web3"), actor="test", action="delete")
    apply(store, WEB)
    again = store.current().ids
    assert again["pools/web/backends/web1"] == ids["pools/web/backends/web1"]
    assert again["pools/web/backends/web3"] == 3  # it settles: the same server is back
    forgetful = [{**WEB["services"][0], "settle_seconds": 0}]
    apply(store, {"services": forgetful})
    store.write(lambda s: desired.remove_backend(s, "web", "web3"), actor="test", action="delete")
    apply(store, {**WEB, "services": forgetful})
    assert store.current().ids["pools/web/backends/web3"] == 4


def test_another_address_is_another_backend(store: Store):
    apply(store, WEB)
    moved = store.current().backend("web", "web1").model_copy(update={"address": "10.0.0.99"})
    store.write(lambda s: desired.put_backend(s, "web", moved), actor="test", action="put")
    assert store.current().ids["pools/web/backends/web1"] == 4


def test_a_write_that_raises_leaves_nothing(store: Store):
    apply(store, WEB)
    before = store.current()

    def fail(state: desired.Desired) -> Document:
        desired.remove_service(state, "www")
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        store.write(fail, actor="test", action="fail")
    with pytest.raises(DocumentError) as caught:
        apply(store, {"services": [{**WEB["services"][0], "name": "other", "pool": "none", "ports": [81]}]})
    assert caught.value.errors[0].pointer == "/services/1/pool"
    assert store.current() == before
    assert len(store.revisions()) == 1


def test_a_dry_run_keeps_nothing(store: Store):
    given = parse(Document, WEB)
    planned = store.write(
        lambda now: desired.merge(now.document, given), actor="t", action="plan", dry_run=True
    )
    assert planned.changed
    assert store.current().revision == 0
    assert apply(store, WEB).after.ids["pools/web/backends/web1"] == 1


def test_everything_outlives_the_process(tmp_path: Path):
    path = tmp_path / "deep" / "store.db"
    store = Store(path)
    apply(store, WEB)
    record = HealthRecord(health=Health.UNHEALTHY, since=utc_now(), detail="connection refused")
    store.save_health(2, record)
    secret, state = store.secret, store.current()
    store.close()
    again = Store(path)
    assert (again.secret, again.current(), again.health()) == (secret, state, {2: record})
    assert len(secret) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    again.close()


def test_health_makes_no_revision_and_goes_with_its_backend(store: Store):
    apply(store, WEB)
    store.save_health(3, HealthRecord(health=Health.UNHEALTHY, since=utc_now()))
    assert store.current().revision == 1
    store.write(lambda s: desired.remove_backend(s, "web", "web3"), actor="test", action="delete")
    assert list(store.health()) == [3]  # while connections to it settle
    store.write(lambda s: desired.remove_service(s, "www"), actor="test", action="delete")
    assert store.health() == {}


def test_the_secret_is_taken_only_while_nothing_hashes_with_it(store: Store):
    empty, whole = Document(), parse(Document, WEB)
    store.write(lambda s: empty, actor="t", action="apply", secret=b"k" * 16)
    assert store.secret == b"k" * 16
    store.write(lambda s: whole, actor="t", action="apply", secret=b"k" * 16)
    with pytest.raises(ConflictError, match="rehash"):
        store.write(lambda s: whole, actor="t", action="apply", secret=b"l" * 16)
    assert store.secret == b"k" * 16


def test_revisions_are_listed_read_and_compared(store: Store):
    apply(store, WEB)
    store.write(lambda s: desired.set_state(s, "web", "web2", State.DRAINING), actor="ann", action="drain")
    store.write(lambda s: desired.remove_service(s, "www"), actor="bob", action="delete")
    assert [(r.number, r.actor, r.action) for r in store.revisions(limit=2)] == [
        (3, "bob", "delete"),
        (2, "ann", "drain"),
    ]
    assert [r.number for r in store.revisions(before=2)] == [1]
    first = store.revision(1).document
    assert first is not None
    assert first.pools[0].backends[1].state == State.ACTIVE
    changes = store.diff(1, 3)
    assert [(c.path, c.change) for c in changes] == [
        ("pools/web/backends/web2", "changed"),
        ("services/www", "removed"),
    ]
    assert (changes[0].fields[0].before, changes[0].fields[0].after) == ("active", "draining")
    with pytest.raises(NotFoundError, match="revisions/9"):
        store.revision(9)


def test_a_store_has_one_process_at_a_time(store: Store):
    with pytest.raises(StoreError, match="in use"):
        Store(store.path)
    store.close()
    Store(store.path).close()


def test_a_store_from_the_future_or_of_something_else_is_refused(tmp_path: Path):
    path = tmp_path / "store.db"
    store = Store(path)
    store._db.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(StoreError, match="newer glbpy"):
        Store(path)
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="cannot use the store"):
        Store(path)


def test_many_threads_write_and_none_is_lost(store: Store):
    apply(store, {"pools": [{"name": "web"}]})

    def add(thread: int) -> None:
        for n in range(10):
            backend = Backend(name=f"t{thread}n{n}", address=f"10.0.{thread}.{n + 1}")
            store.write(lambda s, b=backend: desired.put_backend(s, "web", b), actor="t", action="put")
            store.save_health(store.current().ids[f"pools/web/backends/t{thread}n{n}"], HealthRecord())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    state = store.current()
    assert len(state.document.pools[0].backends) == 80
    assert state.revision == 81
    assert sorted(state.ids.values()) == list(range(1, 81))
    assert [r.number for r in store.revisions(limit=100)] == list(range(81, 0, -1))


WRITER = """
import sys
from pathlib import Path
from typing import Any
from glbpy import desired
from glbpy.models import Backend, Pool
from glbpy.store import Store

store = Store(Path(sys.argv[1]))
store.write(lambda s: desired.put_pool(s.document, Pool(name="web")), actor="w", action="put")
n = store.current().revision
while True:
    n += 1
    backends = tuple(Backend(name=f"b{i}", address=f"10.{i}.{n // 250 % 250}.{n % 250 + 1}") for i in (1, 2))
    pool = Pool(name="web", backends=backends)
    store.write(lambda s: desired.put_pool(s.document, pool), actor="w", action="put")
    print(store.current().revision, flush=True)
"""


@pytest.mark.parametrize("writes", [1, 7, 23])
def test_a_writer_killed_at_any_point_leaves_a_whole_state(tmp_path: Path, writes: int):
    path = tmp_path / "store.db"
    argv = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(writes)]
        child.kill()
        said += [int(line) for line in child.stdout.read().split("\n")[:-1]]
    store = Store(path)
    state = store.current()
    assert state.revision in (said[-1], said[-1] + 1)  # said is kept; the next is whole or absent
    assert [r.number for r in store.revisions(limit=10_000)] == list(range(state.revision, 0, -1))
    assert len({b.address.split(".", 2)[2] for b in state.pool("web").backends}) == 1  # both from one write
    assert len(store.secret) == 32
    apply(store, WEB)
    assert store.current().revision == state.revision + 1
    store.close()
