"""Prior states: kept with the revision that had them, compiled the same anywhere, gone when settled."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from glbpy import _native as native
from glbpy import desired, settling
from glbpy.compiler import NativeCompiler, configuration
from glbpy.desired import Desired
from glbpy.errors import DocumentError
from glbpy.models import Document, Health, State, parse
from glbpy.prior import PRIORS_MAX
from glbpy.store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now

    def after(self, seconds: float) -> None:
        self.now = START + timedelta(seconds=seconds)


def document(count: int = 4, weight: int = 1, **fields: Any) -> Document:
    backends = [{"name": f"web{n}", "address": f"10.0.0.{n}", "weight": weight} for n in range(1, count + 1)]
    service = {
        "name": "www", "vips": ["203.0.113.10"], "protocol": "tcp", "ports": [80], "pool": "web",
        "table_size": 256, "settle_seconds": 60, **fields,
    }  # fmt: skip
    return parse(Document, {"pools": [{"name": "web", "backends": backends}], "services": [service]})


class Cluster:
    """A store with a clock, and how its states compile."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock = path, Clock()
        self.store = Store(path, self.clock)

    def apply(self, given: Document, prune: bool = True) -> native.Snapshot:
        def edit(state: Desired) -> Document:
            return desired.merge(state.document, given, prune)

        self.store.write(edit, actor="test", action="apply")
        return self.snapshot()

    def remove(self, *names: str) -> native.Snapshot:
        for name in names:
            self.store.write(
                lambda s, n=name: desired.remove_backend(s, "web", n), actor="t", action="delete"
            )
        return self.snapshot()

    def snapshot(self, **health: Health) -> native.Snapshot:
        state = self.store.current()
        by_id = {state.ids[f"pools/web/backends/{name}"]: value for name, value in health.items()}
        return native.Snapshot(NativeCompiler().compile(state, self.store.secret, by_id).data)

    def reopened(self) -> Desired:
        self.store.close()
        self.store = Store(self.path, self.clock)
        return self.store.current()

    def chains(self) -> list[list[str]]:
        snapshot = self.snapshot()
        return [[b.name for b in snapshot.row(0, row)] for row in range(snapshot.tables[0].rows)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "store.db")
    yield made
    made.store.close()


def test_a_removed_backend_stays_until_it_has_settled(cluster: Cluster) -> None:
    before = cluster.apply(document())
    chains = cluster.chains()
    cluster.clock.after(10)
    after = cluster.remove("web2")
    assert native.leavers(before, after) == []
    assert [b.name for b in after.backends] == ["web1", "web3", "web4", "web2"]
    assert after.backends[3].state == "inactive"
    for old, new in zip(chains, cluster.chains(), strict=True):
        assert "web2" not in new[:2]
        assert [name for name in old if name not in new] == []
        assert ("web2" in new) == ("web2" in old)
    cluster.clock.after(69)
    assert not cluster.store.settle().changed
    cluster.clock.after(70)
    assert settling.next_expiry(cluster.store.current()) == cluster.clock.now
    settled = cluster.store.settle()
    assert (settled.after.revision, settled.after.priors) == (3, {})
    assert [b.name for b in cluster.snapshot().backends] == ["web1", "web3", "web4"]
    assert [r.action for r in cluster.store.revisions()] == ["settle", "delete", "apply"]
    assert {left.backend for left in native.leavers(after, cluster.snapshot())} == {2}


def test_another_process_compiles_the_same_bytes(cluster: Cluster) -> None:
    cluster.apply(document())
    cluster.clock.after(1)
    cluster.remove("web1")
    cluster.clock.after(2)
    cluster.apply(document(5, weight=3, hops=3))
    cluster.clock.after(3)
    cluster.apply(document(5, weight=3, hops=3, hash_fields=["src_addr", "src_port"]))
    state, secret = cluster.store.current(), cluster.store.secret
    assert len(state.priors["services/www"]) == 3
    again = cluster.reopened()
    assert again == state
    health = {2: Health.UNHEALTHY, 3: Health.HEALTHY}
    assert configuration(again, secret, health) == configuration(state, secret, health)


def test_what_comes_back_to_what_it_was_leaves_only_what_differed(cluster: Cluster) -> None:
    cluster.apply(document())
    for second, state in enumerate((State.DRAINING, State.ACTIVE, State.DRAINING, State.ACTIVE)):
        cluster.clock.after(second)
        cluster.store.write(
            lambda s, wanted=state: desired.set_state(s, "web", "web1", wanted), actor="t", action="drain"
        )
    [prior] = cluster.store.current().priors["services/www"]
    assert prior.members[0].state == State.DRAINING
    assert prior.ended_at == cluster.clock.now
    snapshot = cluster.snapshot()
    assert snapshot.tables[0].hops == 2  # a drain takes nobody out of a chain
    cluster.clock.after(100)
    cluster.store.settle()
    assert cluster.snapshot().rows(0) == snapshot.rows(0)


def test_a_drain_of_both_hops_and_back_keeps_everyone(cluster: Cluster) -> None:
    snapshots = [cluster.apply(document())]
    for name, wanted in (("web1", State.DRAINING), ("web2", State.DRAINING), ("web1", State.ACTIVE)):
        cluster.store.write(
            lambda s, n=name, w=wanted: desired.set_state(s, "web", n, w), actor="t", action="state"
        )
        snapshots.append(cluster.snapshot())
    for later, after in enumerate(snapshots):
        for before in snapshots[:later]:
            assert native.leavers(before, after) == [], (before.revision, after.revision)


@pytest.mark.parametrize(
    "change",
    [
        {"table_size": 1024},
        {"hash_fields": ["src_addr", "src_port"]},
        {"hash_key": "ab" * 16},
        {"source_affinity": {"v4_bits": 24}},
        {"algorithm": "maglev", "table_size": 251},
        {"pool": "other"},
    ],
    ids=str,
)
def test_another_look_up_goes_along_with_the_former(cluster: Cluster, change: dict[str, Any]) -> None:
    other = {"name": "other", "backends": [{"name": "x", "address": "10.9.0.1"}]}
    pools = parse(Document, {"pools": [other]})
    cluster.apply(pools)
    before = cluster.apply(document(), prune=False)
    cluster.clock.after(5)
    given = document(**change)
    if "pool" in change:
        given = given.model_copy(update={"pools": pools.pools})  # and the pool itself is gone
    after = cluster.apply(given)
    assert native.leavers(before, after) == []
    [service] = after.services
    assert service.alt_hash_fields == before.services[0].hash_fields
    assert service.alt_hash_key == before.services[0].hash_key
    assert after.rows(service.alt_table) == before.rows(before.services[0].table)
    again = cluster.apply(document())
    assert native.leavers(before, again) == []
    assert native.leavers(after, again) == []
    cluster.clock.after(65)
    cluster.store.settle()
    assert cluster.snapshot().services[0].alt_hash_fields == ()


def test_a_third_look_up_is_reported(cluster: Cluster) -> None:
    before = cluster.apply(document())
    middle = cluster.apply(document(table_size=512))
    after = cluster.apply(document(table_size=1024))
    assert native.leavers(middle, after) != []
    assert {left.rows for left in native.leavers(before, after)} <= set(range(1, 257))


@pytest.mark.parametrize("fields", [{"settle_seconds": 0}, {"policy": "glb", "settle_seconds": 0}], ids=str)
def test_services_that_do_not_settle_remember_nothing(cluster: Cluster, fields: dict[str, Any]) -> None:
    cluster.apply(document(**fields))
    after = cluster.remove("web2")
    assert cluster.store.current().priors == {}
    assert [b.name for b in after.backends] == ["web1", "web3", "web4"]


def test_policy_glb_does_not_settle_unless_somebody_insists_and_is_refused() -> None:
    assert parse(Document, {"services": [{**_service(), "policy": "glb"}]}).services[0].settle_seconds == 0
    with pytest.raises(DocumentError) as caught:
        parse(Document, {"services": [{**_service(), "policy": "glb", "settle_seconds": 5}]})
    assert "settle_seconds" in str(caught.value.errors[0])


def _service() -> dict[str, Any]:
    return {"name": "www", "vips": ["203.0.113.10"], "protocol": "tcp", "ports": [80], "pool": "web"}


def test_a_name_with_another_address_stays_apart(cluster: Cluster) -> None:
    before = cluster.apply(document())
    pool = cluster.store.current().pool("web")
    moved = pool.backends[0].model_copy(update={"address": "10.0.0.99"})
    cluster.store.write(lambda s: desired.put_backend(s, "web", moved), actor="t", action="put")
    after = cluster.snapshot()
    assert native.leavers(before, after) == []
    names = {str(b.address): b.name for b in after.backends}
    assert (names["10.0.0.99"], names["10.0.0.1"]) == ("web1", "web1~1")


def test_a_removed_backend_that_is_dead_hides_nobody(cluster: Cluster) -> None:
    cluster.apply(document())
    cluster.remove("web1")
    cluster.remove("web2")
    state = cluster.store.current()
    snapshot = native.Snapshot(
        NativeCompiler().compile(state, cluster.store.secret, {1: Health.UNHEALTHY}).data
    )
    rows = [snapshot.row(0, row) for row in range(256)]
    late = [[b.name for b in row].index("web1") == len(row) - 1 for row in rows if "web1" in str(row)]
    assert late
    assert all(late)
    assert settling.backend_ids(state) == [3, 4, 1, 2]


def test_so_many_states_are_kept(cluster: Cluster) -> None:
    cluster.apply(document())
    for weight in range(1, PRIORS_MAX + 6):
        cluster.apply(document(weight=1 + weight))
    weights = [prior.members[0].weight for prior in cluster.store.current().priors["services/www"]]
    assert weights == list(range(PRIORS_MAX + 5, 5, -1))


# ---- filling ----


def test_new_and_undrained_backends_fill_first(cluster: Cluster) -> None:
    def write(edit: desired.Edit) -> Desired:
        return cluster.store.write(edit, actor="t", action="t", fill_first=True).after

    state = write(lambda s: desired.merge(s.document, document(2)))
    paths = {"pools/web/backends/web1", "pools/web/backends/web2"}
    assert state.filling == paths
    assert settling.filled(state, 0) == frozenset()
    ready = settling.filled(state, state.revision)
    assert ready == paths
    assert write(lambda s: desired.merge(s.document, document(2))) is state  # the same again changes nothing
    active = cluster.store.write(lambda s: settling.activate(s, ready), actor="c", action="filled").after
    assert active.filling == frozenset()
    assert {b.state for b in active.document.pools[0].backends} == {State.ACTIVE}

    write(lambda s: desired.drain(s, "web", "web1"))
    state = write(lambda s: desired.undrain(s, "web", "web1"))
    assert state.filling == {"pools/web/backends/web1"}
    assert cluster.reopened().filling == state.filling
    state = write(lambda s: desired.drain(s, "web", "web1"))
    assert state.filling == frozenset()
    state = write(lambda s: desired.set_state(s, "web", "web1", State.FILLING))
    assert state.filling == frozenset()  # by an operator's own wish, and for as long
