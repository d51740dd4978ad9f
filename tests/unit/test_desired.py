"""Edits of the desired state: apply is idempotent, keeps states, and leaves others alone."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glbpy import desired
from glbpy.desired import Desired
from glbpy.errors import ConflictError, DocumentError, NotFoundError
from glbpy.models import Backend, Document, Pool, Service, State, check_whole, parse
from glbpy.store import Store

names = st.sampled_from(["a", "b", "c"])
states = st.sampled_from([None, *State])


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    chosen = draw(st.lists(st.sampled_from(range(5)), unique=True))
    backends = tuple(
        Backend(name=f"n{n}", address=f"10.0.{draw(st.integers(0, 1))}.{n + 1}", state=draw(states))
        for n in chosen
    )
    return Pool(name=draw(names), backends=backends)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    some = draw(st.lists(pools(), unique_by=lambda pool: pool.name, max_size=3))
    services = [
        Service(
            name=f"s{pool.name}",
            vips=("203.0.113.1",),
            protocol="tcp",
            ports=(ord(pool.name),),
            pool=pool.name,
            hops=draw(st.integers(1, 3)),
        )
        for pool in some
        if draw(st.booleans())
    ]
    return Document(pools=tuple(some), services=tuple(services))


@settings(deadline=None)  # the machine may be busy
@given(documents(), documents())
def test_merging_twice_is_merging_once(first: Document, second: Document):
    once = desired.merge(desired.merge(Document(), first), second)
    assert desired.merge(once, second) == once
    check_whole(once)
    assert all(backend.state is not None for pool in once.pools for backend in pool.backends)


@settings(deadline=None)  # the machine may be busy
@given(documents(), documents())
def test_a_given_state_wins_an_absent_one_is_kept_a_new_backend_is_active(first: Document, second: Document):
    before = desired.merge(Document(), first)
    after = desired.merge(before, second)
    for pool in second.pools:
        known = before.pool(pool.name) or Pool(name=pool.name)
        result = after.pool(pool.name)
        assert result is not None
        assert [b.name for b in result.backends] == [b.name for b in pool.backends]
        for sent, got in zip(pool.backends, result.backends, strict=True):
            had = desired.find_backend(known, sent.name)
            assert got.state == (sent.state or (had.state if had else None) or State.ACTIVE)


@settings(deadline=None)  # the machine may be busy
@given(documents(), documents())
def test_what_a_document_does_not_have_is_left_alone_or_pruned(first: Document, second: Document):
    before = desired.merge(Document(), first)
    merged, pruned = desired.merge(before, second), desired.merge(before, second, prune=True)
    for pool in before.pools:
        if second.pool(pool.name) is None:
            assert merged.pool(pool.name) == pool
            assert pruned.pool(pool.name) is None
    assert {s.name for s in pruned.services} == {s.name for s in second.services}


@settings(deadline=None)  # the machine may be busy
@given(documents(), documents())
def test_without_states_applying_never_undrains_anybody(first: Document, second: Document):
    before = desired.merge(Document(), first)
    stateless = Document(
        pools=tuple(
            pool.model_copy(
                update={"backends": tuple(b.model_copy(update={"state": None}) for b in pool.backends)}
            )
            for pool in second.pools
        )
    )
    assert desired.ended_drains(before, desired.merge(before, stateless)) == []


@settings(deadline=None)  # the machine may be busy
@given(documents(), documents())
def test_the_difference_is_empty_exactly_when_nothing_changed(first: Document, second: Document):
    before = desired.merge(Document(), first)
    after = desired.merge(before, second)
    assert desired.diff(before, before) == []
    changes = {change.path: change for change in desired.diff(before, after)}
    old, new = desired.resources(before), desired.resources(after)
    assert {p for p, c in changes.items() if c.change == "added"} == new.keys() - old.keys()
    assert {p for p, c in changes.items() if c.change == "removed"} == old.keys() - new.keys()
    assert bool(changes) or old == new or _same_but_order(before, after)


def _same_but_order(before: Document, after: Document) -> bool:
    def key(document: Document) -> list[object]:
        return [(p.name, sorted((b.name, b.address, b.state) for b in p.backends)) for p in document.pools]

    return key(before) == key(after)


@settings(max_examples=30, deadline=None)
@given(st.lists(documents(), min_size=1, max_size=5))
def test_a_store_makes_a_revision_for_each_change_and_no_other(applied: list[Document]):
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory) / "store.db")
        ids: dict[int, str] = {}
        for document in applied:
            for again in (False, True):
                was = store.current()
                written = store.write(
                    lambda s, d=document: desired.merge(s.document, d), actor="t", action="apply"
                )
                now = store.current()
                assert written.after is now
                assert now.revision == was.revision + written.changed
                assert not (again and written.changed)
                assert now.versions.keys() == desired.resources(now.document).keys()
                assert all(version <= now.revision for version in now.versions.values())
                for path, number in now.ids.items():
                    if path.startswith("pools/"):
                        _, pool, _, name = path.split("/")
                        thing = f"{path} {now.backend(pool, name).address}"
                        assert ids.setdefault(number, thing) == thing  # an id is one thing's for ever
        for revision in store.revisions():
            assert store.diff(revision.number, revision.number) == []
        store.close()


# ---- single resources ----


def state() -> Desired:
    backends = [{"name": "a", "address": "10.0.0.1"}, {"name": "b", "address": "10.0.0.2"}]
    service = {"name": "www", "vips": ["203.0.113.1"], "protocol": "tcp", "ports": [80], "pool": "web"}
    given = parse(Document, {"pools": [{"name": "web", "backends": backends}], "services": [service]})
    return Desired.standalone(given)


def test_a_pool_in_use_is_not_removed():
    with pytest.raises(ConflictError, match="used by service www"):
        desired.remove_pool(state(), "web")
    without = Desired(1, desired.remove_service(state(), "www"))
    assert desired.remove_pool(without, "web") == Document()


def test_a_backend_cannot_take_another_ones_address():
    with pytest.raises(DocumentError) as caught:
        desired.put_backend(state(), "web", Backend(name="c", address="10.0.0.2"))
    assert caught.value.pointer == "/address"
    assert "backend b" in caught.value.errors[0].detail


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (lambda s: desired.remove_service(s, "x"), "services/x"),
        (lambda s: desired.remove_pool(s, "x"), "pools/x"),
        (lambda s: desired.remove_backend(s, "web", "x"), "pools/web/backends/x"),
        (lambda s: desired.put_backend(s, "x", Backend(name="a", address="10.0.0.9")), "pools/x"),
        (lambda s: desired.drain(s, "x", "a"), "pools/x"),
        (lambda s: desired.undrain(s, "web", "x"), "pools/web/backends/x"),
    ],
)
def test_what_is_not_there_is_named(edit: desired.Edit, path: str):
    with pytest.raises(NotFoundError) as caught:
        edit(state())
    assert caught.value.path == path


def test_undrain_leaves_active_and_filling_backends_as_they_are():
    for wanted in (State.ACTIVE, State.FILLING):
        document = desired.set_state(state(), "web", "a", wanted)
        assert desired.undrain(Desired(1, document), "web", "a") == document
