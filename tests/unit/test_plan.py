"""`glb plan`: shares that move, who loses connections, why and what helps, against rows compared naively."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from glbpy.cli.main import build
from glbpy.compiler import offline
from glbpy.errors import ConflictError, DocumentError
from glbpy.models import Document
from glbpy.plan import Plan, ServicePlan, offline_plan
from glbpy.rows import rows_of

Json = dict[str, Any]
SETTLE = "settle_seconds above 0 keeps it for a time"


def pool(count: int, **fields: Any) -> list[Json]:
    return [{"name": f"b{n}", "address": f"10.0.{n >> 8}.{n & 255}", **fields} for n in range(1, count + 1)]


def service(**fields: Any) -> Json:
    given = {"name": "www", "vips": ["203.0.113.10"], "protocol": "tcp", "ports": [80], "pool": "web"}
    return {**given, "settle_seconds": 0, **fields}


def document(backends: list[Json], **fields: Any) -> Document:
    services = [service(**fields)]
    return Document.model_validate({"pools": [{"name": "web", "backends": backends}], "services": services})


def changed(backends: list[Json], name: str, **fields: Any) -> list[Json]:
    return [{**backend, **(fields if backend["name"] == name else {})} for backend in backends]


def made(old: Document, new: Document, *unhealthy: str) -> Plan:
    return offline_plan(old, new, True, unhealthy)


def only(plan: Plan) -> ServicePlan:
    [found] = plan.services
    return found


def chains(given: Document) -> list[list[str]]:
    """Return the rows of www as names."""
    found = rows_of(*offline(given), "www", {})
    return [[found.backends[hop].name for hop in chain] for chain in found.chains]


# ---- figures ----


@pytest.mark.parametrize("seed", range(20))
def test_figures_equal_rows_compared_naively(seed: int) -> None:
    draw = random.Random(seed)
    algorithm = draw.choice(("rendezvous", "maglev"))
    size = 1021 if algorithm == "maglev" else 1024
    hops = draw.randrange(1, 3 if algorithm == "maglev" else 5)
    shape = {"algorithm": algorithm, "table_size": size, "hops": hops}
    before = pool(draw.randrange(3, 12))
    after = [dict(backend) for backend in before]
    for _ in range(draw.randrange(1, 3)):
        at = draw.randrange(len(after))
        match draw.randrange(4):
            case 0:
                after.append({"name": f"n{len(after)}", "address": f"10.9.0.{len(after)}"})
            case 1:
                del after[at]
            case 2:
                after[at]["state"] = draw.choice(("draining", "inactive", "filling"))
            case _:
                after[at]["weight"] = draw.choice((0, 2, 9))
    old, new = document(before, **shape), document(after, **shape)
    was, now = chains(old), chains(new)
    plan = made(old, new)
    if was == now:
        assert plan.services == ()
        return
    found = only(plan)
    moved = [(a[0], b[0]) for a, b in zip(was, now, strict=True) if a[0] != b[0]]
    assert (found.rows, found.rows_moved) == (size, len(moved))
    touched = {b["name"] for b in before if b not in after} | {b["name"] for b in after if b not in before}
    between = sum(a not in touched and b not in touched for a, b in moved)
    assert found.share_moved == pytest.approx(len(moved) / size, abs=1e-6)
    assert found.share_moved_between == pytest.approx(between / size, abs=1e-6)
    if algorithm == "rendezvous":
        assert between == 0
    rows: Counter[str] = Counter()
    first: Counter[str] = Counter()
    for a, b in zip(was, now, strict=True):
        rows.update(set(a) - set(b))
        first.update({a[0]} - set(b))
    assert {x.backend: (x.rows, x.first) for x in found.breaks} == {
        f"web/{name}": (rows[name], first[name]) for name in rows
    }
    assert found.share_breaking == pytest.approx(first.total() / size, abs=1e-6)
    assert plan.breaks == bool(rows)


def test_maglev_shows_what_moves_between_backends_that_stay() -> None:
    found = only(made(document(pool(10), algorithm="maglev"), document(pool(9), algorithm="maglev")))
    assert 0 < found.share_moved_between < 0.01
    assert 0.1 < found.share_moved < 0.11
    assert found.rows == 65537


def test_a_table_of_another_size_is_compared_row_by_row() -> None:
    """The row of a flow in the smaller one is the low bits of its row in the larger one."""
    old, new = document(pool(5), table_size=256), document(pool(6), table_size=1024)
    was, now = chains(old), chains(new)
    found = only(made(old, new))
    moved = sum(was[n % 256][0] != now[n][0] for n in range(1024))
    assert found.share_moved == pytest.approx(moved / 1024, abs=1e-6)
    assert any("anew" in note for note in found.notes)
    assert {x.why for x in found.breaks} == {"every row is made or found anew: table_size 256 -> 1024"}


def test_other_hash_fields_spread_flows_anew() -> None:
    old = document(pool(4))
    found = only(made(old, document(pool(4), hash_fields=["src_addr", "src_port"])))
    assert found.share_moved == pytest.approx(0.75, abs=0.01)
    assert found.share_moved_between == found.share_moved
    assert [x.rows for x in found.breaks] == [
        sum(f"b{n}" in chain for chain in chains(old)) for n in range(1, 5)
    ]
    assert "hash_fields ['src_addr'] -> ['src_addr', 'src_port']" in found.breaks[0].why


# ---- why, and what helps ----


@pytest.mark.parametrize(
    ("change", "why", "prevent"),
    [
        ({"backends": pool(3)}, "it is removed from pool web", "drain it first"),
        ({"backends": changed(pool(4), "b4", state="inactive")}, "it becomes inactive", "drain it first"),
        (
            {"backends": changed(pool(4), "b4", address="10.0.0.44")},
            "its address becomes 10.0.0.44, which is another server",
            "add 10.0.0.44 under another name",
        ),
        ({"hops": 1}, "chains have 1 hops of their own instead of 2", "hops: 2 keeps it"),
        ({"backends": pool(5)}, "others take its place: b5 comes into the pool", "hops: 3 keeps it"),
        ({"seed": "ab" * 16}, "every row is made or found anew: seed", "hops: 4 keeps it"),
        ({"algorithm": "maglev"}, "table_size 65536 -> 65537, algorithm rendezvous -> maglev", "settle"),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value),
)  # fmt: skip
def test_reasons(change: Json, why: str, prevent: str) -> None:
    plan = made(document(pool(4)), document(**{"backends": pool(4), **change}))
    assert plan.breaks
    found = {x.backend: x for x in only(plan).breaks}["web/b4" if "backends" in change else "web/b1"]
    if change.get("backends") == pool(5):
        found = only(plan).breaks[0]
    assert why in found.why
    assert any(prevent in text for text in found.prevent)
    assert any("settle_seconds" in text for text in found.prevent)


@pytest.mark.parametrize(
    "change",
    [
        {"backends": pool(3)},
        {"backends": pool(5), "hops": 1},
        {"hash_fields": ["src_addr", "src_port"]},
        {"algorithm": "maglev", "table_size": 65537},
    ],
)
def test_nothing_breaks_while_it_settles(change: Json) -> None:
    old = document(pool(4), settle_seconds=3600)
    plan = made(old, document(**{"backends": pool(4), "settle_seconds": 3600, **change}))
    assert not plan.breaks
    assert only(plan).share_breaking == 0


def test_a_draining_backend_is_waited_for() -> None:
    old = document(changed(pool(4), "b4", state="draining"))
    [found] = [x for x in only(made(old, document(pool(3)))).breaks if x.backend == "web/b4"]
    assert found.prevent == (SETTLE, "wait until it has no connections left")


def test_another_pool_and_no_service_at_all() -> None:
    old = document(pool(2))
    more = [{"name": "x", "address": "10.1.0.1"}]
    pools = [{"name": "web", "backends": pool(2)}, {"name": "b", "backends": more}]
    other = Document.model_validate({"pools": pools, "services": [service(pool="b")]})
    found = only(made(old, other))
    assert found.share_moved == found.share_breaking == 1.0
    assert {x.why for x in found.breaks} == {"the service has pool b instead of web"}
    without = Document.model_validate({"pools": pools})
    found = only(made(old, without))
    assert (found.change, found.share_breaking) == ("removed", 1.0)
    assert {x.why for x in found.breaks} == {"service www is removed"}
    plan = made(without, other)
    assert (only(plan).change, plan.breaks) == ("added", False)


@pytest.mark.parametrize("seed", range(6))
def test_the_hops_that_it_advises_keep_everything(seed: int) -> None:
    draw = random.Random(seed)
    before = pool(8, weight=draw.choice((1, 5)))
    after = draw.choice((
        pool(9, weight=before[0]["weight"]),
        pool(10, weight=before[0]["weight"]),
        [{**b, "weight": 10} if b["name"] == "b3" else b for b in before],
    ))  # fmt: skip
    hops = draw.randrange(1, 5)
    shape = {"table_size": 512, "seed": draw.randbytes(16).hex()}
    old = document(before, hops=hops, **shape)
    breaks = only(made(old, document(after, hops=hops, **shape))).breaks
    [text] = {advice for one in breaks for advice in one.prevent if advice != SETTLE} or {""}
    if text:
        advised = int(text.split()[1])
        assert hops < advised <= hops + 2
        assert not made(old, document(after, hops=advised, **shape)).breaks
    else:
        assert made(old, document(after, hops=hops + 2, **shape)).breaks


# ---- without second chance ----


def test_udp_breaks_where_first_hops_move() -> None:
    """A draining backend keeps no UDP flow of its own: the first hop of each row takes what comes."""
    drained = changed(pool(4), "b2", state="draining")
    tcp = made(document(pool(4)), document(drained))
    assert not tcp.breaks
    assert only(tcp).second_chance
    found = only(made(document(pool(4), protocol="udp"), document(drained, protocol="udp")))
    assert not found.second_chance
    assert any("second chance is off for the service" in note for note in found.notes)
    [one] = found.breaks
    assert (one.backend, one.rows, one.first) == ("web/b2", found.rows_moved, found.rows_moved)
    assert one.why == "its state becomes draining"
    assert one.prevent == ("flow_cache: on",)


def test_quic_connections_stay_while_their_ids_are_read() -> None:
    shape: Json = {"protocol": "udp", "quic": True}
    drained = changed(pool(4), "b2", state="draining")
    found = made(document(pool(4), **shape), document(drained, **shape))
    assert not found.breaks
    assert any("stay with the backend that chose their id" in note for note in only(found).notes)
    for after in (document(pool(3), **shape), document(changed(pool(4), "b4", state="inactive"), **shape)):
        [one] = only(made(document(pool(4), **shape), after)).breaks
        assert one.backend == "web/b4"
    other = {"protocol": "udp", "quic": {"configurations": [{"config_id": 0, "key": "00" * 16}]}}
    [one] = only(made(document(pool(4), **shape), document(drained, **other))).breaks
    assert one.backend == "web/b2"


def test_the_flow_cache_keeps_what_stays_in_the_pool() -> None:
    shape = {"protocol": "udp", "flow_cache": "on"}
    drained = changed(pool(4), "b2", state="draining")
    found = made(document(pool(4), **shape), document(drained, **shape))
    assert not found.breaks
    assert any("a flow that its director remembers stays" in note for note in only(found).notes)
    removed = only(made(document(pool(4), **shape), document(pool(3), **shape)))
    assert [x.backend for x in removed.breaks] == ["web/b4"]


# ---- what it is compared with ----


def test_nothing_changes() -> None:
    plan = made(document(pool(4)), document(pool(4)))
    assert (plan.changed, plan.breaks, plan.changes, plan.services) == (False, False, (), ())


def test_without_prune_the_rest_stays() -> None:
    given = Document.model_validate({"pools": [{"name": "more", "backends": pool(1)}]})
    plan = offline_plan(document(pool(4)), given, False, ())
    assert [(c.path, c.change) for c in plan.changes] == [
        ("pools/more", "added"), ("pools/more/backends/b1", "added"),
    ]  # fmt: skip
    assert (plan.changed, plan.services) == (True, ())


def test_who_is_unhealthy_is_so_in_both() -> None:
    """Its rows have moved already: a removal moves nothing more."""
    found = only(made(document(pool(4)), document(pool(3)), "web/b1"))
    assert found.share_moved == pytest.approx(0.33, abs=0.02)
    assert [x.first for x in found.breaks if x.backend == "web/b1"] in ([], [0])


def test_what_apply_would_refuse_is_refused() -> None:
    with pytest.raises(DocumentError, match="there is no pool none"):
        made(document(pool(2)), document(pool(2), pool="none"))
    with pytest.raises(ConflictError, match="secrets"):
        made(document(pool(2)), document(pool(2)).model_copy(update={"secret": "ab" * 16}))


# ---- the command ----


def run(folder: Path, old: Document, new: Document, *words: str) -> Result:
    for name, given in (("old", old), ("new", new)):
        (folder / f"{name}.json").write_text(given.model_dump_json(exclude_none=True))
    files = ["-f", str(folder / "new.json"), "--against", str(folder / "old.json")]
    return CliRunner().invoke(build(), ["plan", *files, *words])


def test_the_command_prints_json_and_text(tmp_path: Path) -> None:
    old, new = document(pool(4)), document(pool(3))
    result = run(tmp_path, old, new, "--json")
    assert result.exit_code == 0, result.output
    assert Plan.model_validate(json.loads(result.stdout)) == made(old, new)
    text = run(tmp_path, old, new).stdout
    [move] = only(made(old, new)).breaks
    assert "- pools/web/backends/b4" in text
    assert "none between backends that stay as they are" in text
    assert f"! web/b4 leaves {move.rows} rows, first in {move.first}: can break" in text
    assert "why: it is removed from pool web" in text
    assert "instead: drain it first, and go on when it has no connections left" in text
    assert text.endswith("connections can break: www\n")
    many = run(tmp_path, document(pool(8)), document(pool(9)))
    [line] = [line for line in many.stdout.splitlines() if "!" in line]
    assert line.startswith("  ! web/b1, web/b2, web/b3, web/b4, web/b5 and 3 more leave ")
    assert line.endswith("rows, first in 0: can break what older changes left there")


def test_exit_codes(tmp_path: Path) -> None:
    old, new = document(pool(4)), document(pool(3))
    assert run(tmp_path, old, new, "--check").exit_code == 1
    assert run(tmp_path, old, old, "--check").exit_code == 0
    assert run(tmp_path, old, document(pool(4), pool="none")).exception.exit_code == 2  # type: ignore[union-attr]
    without_server = CliRunner().invoke(
        build(), ["plan", "-f", str(tmp_path / "new.json"), "--unhealthy", "web/b1"]
    )
    assert without_server.exception.exit_code == 2  # type: ignore[union-attr]
