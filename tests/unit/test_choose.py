"""What choosing promises: shares by weight, and first hops that stay where they are."""

import random
from array import array
from collections import Counter
from dataclasses import replace
from ipaddress import ip_address

import pytest

from glbpy._native import HOP_NONE, BackendInput, build_rows

ROWS = 4096


def pool(weights: list[int]) -> tuple[BackendInput, ...]:
    return tuple(
        BackendInput(f"b{n}", n, ip_address(f"10.0.{n >> 8}.{n & 255}"), weight=weight)
        for n, weight in enumerate(weights, 1)
    )


def chains(backends: tuple[BackendInput, ...], hops: int = 2, rows: int = ROWS) -> list[list[str]]:
    """Return the rows as names."""
    flat: array[int] = build_rows(backends, rows=rows, hops=hops, policy="ordered", seed=b"a seed of tests!")
    return [
        [backends[hop].name for hop in flat[at : at + hops] if hop != HOP_NONE]
        for at in range(0, len(flat), hops)
    ]


def chi_square(counts: dict[str, int], backends: tuple[BackendInput, ...], total: int) -> float:
    weights = {b.name: b.weight for b in backends if b.weight}
    expected = {name: total * weight / sum(weights.values()) for name, weight in weights.items()}
    return sum((counts.get(name, 0) - e) ** 2 / e for name, e in expected.items())


@pytest.mark.parametrize(
    "weights",
    [[1] * 20, [7] * 20, [1, 2], [1, 2, 3, 4], [0, 1, 10, 100], [10] * 10 + [30] * 10, [65535, 30000, 500]],
    ids=lambda weights: "-".join(map(str, weights[:4])) + f"-of-{len(weights)}",
)
def test_first_hops_are_in_proportion_to_the_weights(weights: list[int]) -> None:
    backends, rows = pool(weights), 1 << 18
    counts = Counter(chain[0] for chain in chains(backends, rows=rows))
    assert counts.keys() == {b.name for b in backends if b.weight}
    # Its mean is k - 1, its deviation sqrt(2 (k - 1)): six above the mean is one in a million by chance.
    freedom = len(counts) - 1
    assert chi_square(counts, backends, rows) < freedom + 6 * (2 * freedom) ** 0.5 + 6


def test_second_hops_of_a_row_are_in_proportion_among_the_others() -> None:
    """Given the first, the second is drawn by the weights of the rest: a failure spreads by weight."""
    backends, rows = pool([1, 2, 3, 4]), 1 << 18
    seconds = Counter(chain[1] for chain in chains(backends, rows=rows) if chain[0] == "b4")
    assert chi_square(seconds, backends[:3], seconds.total()) < 30


def change(draw: random.Random, backends: tuple[BackendInput, ...]) -> tuple[BackendInput, ...]:
    """Return the pool after a random change of one backend or two."""
    after = list(backends)
    for _ in range(draw.choice((1, 1, 1, 2))):
        at = draw.randrange(len(after))
        match draw.randrange(5):
            case 0 if len(after) > 2:
                del after[at]
            case 1:
                number = draw.randrange(1000, 60000)
                address = ip_address(0x0A000000 + number)
                after.insert(at, BackendInput(f"b{number}", number, address, weight=draw.randrange(9)))
            case 2:
                state = draw.choice(("active", "draining", "filling", "inactive"))
                after[at] = replace(after[at], state=state)
            case 3:
                after[at] = replace(after[at], health=draw.choice(("healthy", "unhealthy")))
            case _:
                after[at] = replace(after[at], weight=draw.choice((0, 1, 2, 5, 1000, 65535)))
    return tuple(after)


def serves(backends: tuple[BackendInput, ...]) -> bool:
    """Is any available? Otherwise rule 4 orders all of them by their states."""
    return any(b.state == "active" and b.health != "unhealthy" and b.weight for b in backends)


@pytest.mark.parametrize("seed", range(25))
def test_no_first_hop_moves_between_two_backends_that_did_not_change(seed: int) -> None:
    """Sticky ECMP's promise, whatever else is in the pool, for changes in every combination."""
    draw = random.Random(seed)
    spans: list[tuple[int, ...]] = [(1,), (0, 1), (1, 2, 3), (0, 1, 100, 65535)]
    span = draw.choice(spans)
    backends = pool([1, *(draw.choice(span) for _ in range(draw.choice((1, 2, 9, 39))))])
    hops = draw.randrange(1, 5)
    before, moved = chains(backends, hops, 1024), 0
    for _ in range(20):
        changed = change(draw, backends)
        if not serves(changed):
            continue
        touched = {b.name for b in set(backends) ^ set(changed)}
        after = chains(changed, hops, 1024)
        for was, now in zip(before, after, strict=True):
            moved += was[0] != now[0]
            assert was[0] == now[0] or {was[0], now[0]} & touched
        backends, before = changed, after
    assert moved


@pytest.mark.parametrize("hops", [2, 3, 4])
def test_weight_zero_is_never_first_and_keeps_its_place_among_equal_weights(hops: int) -> None:
    before = pool([5] * 12)
    after = (replace(before[0], weight=0), *before[1:])
    drained = (replace(before[0], state="draining"), *before[1:])
    assert chains(after, hops) == chains(drained, hops)
    for was, now in zip(chains(before, hops), chains(after, hops), strict=True):
        assert set(was) == set(now)
        assert now[0] != "b1"


def test_weight_zero_leaves_no_chain_unless_it_was_the_heaviest() -> None:
    """It counts as the largest weight of the rest, so it only moves forward in the order."""
    before = pool([3, 1, 2, 3, 9, 4])
    after = (replace(before[0], weight=0), *before[1:])
    for was, now in zip(chains(before, 3), chains(after, 3), strict=True):
        assert now[0] != "b1"
        assert "b1" in now or "b1" not in was


def test_when_every_weight_is_zero_the_pool_still_serves() -> None:
    backends = pool([0] * 5)
    assert chains(backends) == chains(pool([1] * 5))
    filling = (replace(backends[0], state="filling"), *backends[1:])
    assert all(chain[0] != "b1" for chain in chains(filling))
