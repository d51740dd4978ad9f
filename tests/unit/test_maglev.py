"""Maglev tables: the paper's example, katran's rings and figures, and a naive twin."""

import hashlib
import random
import struct
from array import array
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from oracle import frames, glb_results, maglev
from oracle.build import tcp
from oracle.decide import decide
from oracle.model import Bind, Config, Director, Service
from oracle.rows import Backend, encode
from packet_path import as_decision, backend_input, path_of

from glbpy import _native as native
from glbpy.errors import InvalidInputError

REFERENCE = glb_results.load("maglev.json")
WORD = (1 << 64) - 1
STATES = ("active", "filling", "draining", "inactive")


# ---- katran's permutations: MurmurHash3 x64 of two words ----


def rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & WORD


def mix(value: int) -> int:
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ value >> 33) * factor & WORD
    return value ^ value >> 33


def murmur(first: int, second: int, seed: int) -> int:
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
    h1 = h2 = seed
    h1 ^= rotate(first * c1 & WORD, 31) * c2 & WORD
    h1 = ((rotate(h1, 27) + h2) * 5 + 0x52DCE729) & WORD
    h2 ^= rotate(second * c2 & WORD, 33) * c1 & WORD
    h2 = ((rotate(h2, 31) + h1) * 5 + 0x38495AB5) & WORD
    h1, h2 = h1 ^ 16, h2 ^ 16
    h1 = (h1 + h2) & WORD
    h2 = (h2 + h1) & WORD
    return mix(h1) + mix(h2) & WORD


def ring(endpoints: list[tuple[int, int]], size: int = 65537) -> "array[int]":
    """Return libglb's population for katran's endpoints: (weight, hash)."""
    permutations = [
        (murmur(key, 42, 0) % size, murmur(key, 2718281828, 2307) % (size - 1) + 1) for _, key in endpoints
    ]
    return native.populate_maglev(permutations, [weight for weight, _ in endpoints], size)


def changed(before: "array[int]", after: "array[int]") -> int:
    return sum(a != b for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("case", REFERENCE["rings"], ids=lambda case: case["name"])
def test_rings_are_katrans(case: dict[str, Any]) -> None:
    rows = ring([(weight, key) for _, weight, key in case["endpoints"]], case["M"])
    expected = case["v2"]
    assert list(rows[:64]) == expected["first_64"]
    assert hashlib.sha256(struct.pack(f"<{len(rows)}i", *rows)).hexdigest() == expected["sha256_i32le"]
    counts = Counter(rows)
    assert (min(counts.values()), max(counts.values())) == (expected["min_slots"], expected["max_slots"])


@pytest.mark.parametrize("case", REFERENCE["removals"], ids=lambda case: case["name"])
def test_removals_move_as_many_rows_as_katrans(case: dict[str, Any]) -> None:
    before = ring([(1, key) for key in range(case["n"])], case["M"])
    left = [key for key in range(case["n"]) if key != case["removed"]]
    after = ring([(1, key) for key in left], case["M"])
    moves = [(was, left[now]) for was, now in zip(before, after, strict=True) if was != left[now]]
    collateral = sum(was != case["removed"] for was, _ in moves)
    expected = case["v2"]
    assert len(moves) == expected["slots_changed"]
    assert collateral == expected["collateral"]
    assert round(100 * collateral / case["M"], 4) == expected["collateral_percent"]


def test_the_papers_example() -> None:
    example = REFERENCE["paper_worked_example"]
    permutations = [tuple(pair) for pair in example["offset_skip"]]
    assert [[(o + j * s) % 7 for j in range(7)] for o, s in permutations] == example["permutation"]
    assert list(native.populate_maglev(permutations, [1, 1, 1], 7)) == example["ring"]
    two = native.populate_maglev([permutations[0], permutations[2]], [1, 1], 7)
    assert [(0, 2)[i] for i in two] == example["ring_without_backend_1"]


def test_katrans_published_figures() -> None:
    """Those of its second variant, and of both where weights are equal."""
    published = {item["test"]: item for item in REFERENCE["katran_published"]}

    def figure(test: str) -> dict[str, Any]:
        [found] = [item for name, item in published.items() if test in name]
        return found

    def spread(rows: "array[int]") -> int:
        counts = Counter(rows)
        return max(counts.values()) - min(counts.values())

    same = ring([(1, key) for key in range(400)])
    assert spread(same) == figure("same weight")["max_minus_min"]
    assert spread(ring([(2, 0), (1, 1), (1, 2)])) == figure("diff weight V2")["max_minus_min"]
    tens = ring([(10, key) for key in range(100)])
    without = ring([(10, key) for key in range(1, 100)])
    assert changed(tens, array("H", (i + 1 for i in without))) == figure("delete real 0")["v2"]
    thirteens = ring([(13, key) for key in range(100)])
    assert changed(tens, thirteens) == figure("10 -> 13")["v2"]
    heavier = ring([(26, 0), *((13, key) for key in range(1, 100))])
    assert changed(thirteens, heavier) == figure("weight 26")["v2"]
    assert changed(ring([(1, 0)]), ring([(1, 0), (1, 1)])) == figure("1 real -> 2 reals")["v1"]
    assert [Counter(ring([(2, 0), (1, 1)], 7))[i] for i in (0, 1)] == figure("ring 7")["v2_slots"]


# ---- rows of a pool ----


def build(backends: list[Backend], size: int = 65537, hops: int = 2, seed: bytes = bytes(16)) -> "array[int]":
    return native.build_rows(
        [backend_input(backend, number) for number, backend in enumerate(backends, 1)],
        rows=size, hops=hops, policy="ordered", seed=seed, algorithm="maglev",
    )  # fmt: skip


def pool(count: int, **fields: Any) -> list[Backend]:
    return [Backend(f"10.0.{n >> 8}.{n & 255}", **fields) for n in range(1, count + 1)]


@pytest.mark.parametrize("seed", range(40))
def test_rows_equal_the_naive_twin(seed: int) -> None:
    draw = random.Random(seed)
    size = draw.choice((251, 257, 509, 1021, 2039))
    calm = draw.random() < 0.5
    span = draw.choice(((1,), (5,), (0, 1), (1, 2, 3), (1, 10, 65535), (0,)))
    backends = [
        Backend(
            f"10.{draw.randrange(256)}.0.{n}" if draw.random() < 0.7 else f"2001:db8::{n:x}",
            "active" if calm and draw.random() < 0.8 else draw.choice(STATES),
            "unknown" if calm else draw.choice(("healthy", "unhealthy")),
            draw.choice(span),
        )
        for n in range(draw.choice((0, 1, 2, 9, 40)))
    ]  # fmt: skip
    key, hops = draw.randbytes(16), draw.choice((1, 2))
    rows = build(backends, size, hops, key)
    assert rows.tobytes() == encode(maglev.chains(key, backends, size, hops), hops)


@pytest.mark.parametrize("count", [1, 2, 10, 100, 1000])
def test_shares_of_equal_backends_differ_by_one_row(count: int) -> None:
    rows = build(pool(count))
    counts = Counter(rows[::2])
    assert set(counts) == set(range(count))
    assert max(counts.values()) - min(counts.values()) <= 1
    assert set(rows[1::2]) == {native.HOP_NONE}  # everybody serves: there is no second place


@pytest.mark.parametrize("weights", [(1, 2), (2, 1, 1), (1, 10, 100), (3, 0, 5), (65535, 1)], ids=str)
def test_shares_follow_the_weights(weights: tuple[int, ...]) -> None:
    rows = build([Backend(f"10.0.0.{n}", weight=weight) for n, weight in enumerate(weights, 1)])
    counts = Counter(rows[::2])
    for position, weight in enumerate(weights):
        assert abs(counts[position] - 65537 * weight / sum(weights)) <= len(weights)


def test_shares_far_apart_are_ciliums() -> None:
    """Cilium publishes 16, 98, 832 and 75 of 1021 for its weighting; turns come within 2 % of the table."""
    [case] = [c for c in REFERENCE["cilium_published"] if "slots" in c]
    rows = build([Backend(f"10.0.0.{n}", weight=w) for n, w in enumerate((2, 13, 111, 10))], 1021)
    counts = Counter(rows[::2])
    for position, slots in enumerate(case["slots"]):
        assert abs(counts[position] - slots) < 0.02 * 1021


def test_removing_the_lightest_of_weights_far_apart_moves_little() -> None:
    """Cilium publishes less than 1 % for these weights."""
    backends = [Backend(f"10.0.0.{n}", weight=w) for n, w in enumerate((2, 13, 111, 10))]
    before = build(backends, 1021)[::2]
    after = build([replace(backends[0], state="inactive"), *backends[1:]], 1021)[::2]
    moved = sum(was not in (0, now) for was, now in zip(before, after, strict=True))
    [published] = [c for c in REFERENCE["cilium_published"] if "weight-2" in c["test"]]
    assert 100 * moved / 1021 < published["less_than_percent"]


@pytest.mark.parametrize(("count", "size"), [(3, 1021), (10, 65537), (100, 65537), (400, 65537)])
def test_a_removal_moves_few_rows_of_the_others(count: int, size: int) -> None:
    """Cilium and katran publish less than 1 %; the paper says that a few move."""
    backends = pool(count)
    without = [replace(backends[0], state="inactive"), *backends[1:]]
    rows = zip(build(backends, size)[::2], build(without, size)[::2], strict=True)
    moved = sum(was not in (0, now) for was, now in rows)
    assert moved < size * 0.01 * (1 if count < 400 else 2)


def test_the_order_of_the_configuration_does_not_matter() -> None:
    backends = pool(20)
    shuffled = random.Random(5).sample(backends, 20)
    assert [backends[i] for i in build(backends)[::2]] == [shuffled[i] for i in build(shuffled)[::2]]


@pytest.mark.parametrize(
    "change", [{"state": "draining"}, {"health": "unhealthy"}, {"weight": 0}, {"state": "filling"}], ids=str
)
def test_what_does_not_serve_is_second_where_it_would_serve(change: dict[str, Any]) -> None:
    """So no connection made while all served is lost: neither its own, nor one of a row that moved."""
    everybody = build(pool(30))[::2]
    backends = pool(30)
    backends[7] = replace(backends[7], **change)
    rows = build(backends)
    moved = 0
    for row, (first, second) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
        assert first != 7
        assert everybody[row] in (first, second)
        assert second in (everybody[row], native.HOP_NONE)
        moved += everybody[row] not in (first, 7)
    assert 0 < moved < 0.01 * 65537


def test_when_nobody_is_available_the_draining_serve_then_the_filling() -> None:
    states = [("draining", "healthy"), ("filling", "healthy"), ("active", "unhealthy")]
    backends = [Backend(f"10.0.0.{n}", *state) for n, state in enumerate(states)]
    assert set(build(backends)[::2]) == {0}
    assert set(build(backends[1:])[::2]) == {0}
    assert set(build([replace(b, state="inactive") for b in backends])) == {native.HOP_NONE}


# ---- packets, and what is refused ----


def test_packets_take_the_oracles_rows() -> None:
    binds = tuple(Bind.of(vip, "tcp", 0, 65535) for vip in (frames.VIP4, frames.VIP6))
    backends = tuple(replace(b, state="draining" if n == 3 else "active") for n, b in enumerate(pool(9)))
    service = Service(
        "www", 1, binds, backends, b"sixteen bytes ok", bytes(16), ("src_addr", "src_port"),
        rows=1021, algorithm="maglev",
    )  # fmt: skip
    config, director = Config((service,)), Director("10.0.0.2", "02:00:00:00:00:fe", "02:00:00:00:00:02")
    path, lengths = path_of(config, director), set()
    for port in range(1000):
        for make in (frames.v4, frames.v6):
            frame = make(tcp(port, 80))
            mine = as_decision(path.decide(frame))
            assert mine == decide(config, director, frame)
            lengths.add(len(mine.chain))
    assert lengths == {1, 2}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rows": 65536}, "65536 is not a prime from 251 to 1048576, as maglev needs; 65537 is near"),
        ({"hops": 3}, "3 is not from 1 to 2, as maglev needs"),
        ({"policy": "glb"}, "maglev has policy ordered only"),
    ],
)
def test_what_maglev_cannot_have_is_refused(change: dict[str, Any], text: str) -> None:
    given: dict[str, Any] = {"rows": 65537, "hops": 2, "policy": "ordered", "seed": bytes(16), **change}
    with pytest.raises(InvalidInputError, match=text) as caught:
        native.build_rows((), algorithm="maglev", **given)
    assert caught.value.pointer == f"/{next(iter(change))}"
