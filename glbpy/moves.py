"""How many of a service's flows get another first hop between two snapshots.

Every row has an equal share of the flows. Where flows find their rows in the same way in both, rows are
compared one by one; where they are spread anew (other hash fields, key or size), what a flow had says nothing
of what it gets, and the shares are those that are to be expected.
"""

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from glbpy._native import HOP_NONE, BackendInfo, ServiceInfo, Snapshot

Pairs = Mapping[tuple[int, int], float]  # (first hop before, after): their share of the flows


@dataclass(frozen=True)
class Moves:
    """Shares of the flows, 0 to 1."""

    share: float  # that get another first hop, or none
    between: float  # of these, between two backends that did not change themselves
    left: Mapping[int, float]  # by the id of the backend that they had
    anew: bool  # flows are spread over rows anew


def moves(before: Snapshot, old: ServiceInfo, after: Snapshot, new: ServiceInfo) -> Moves:
    """Compare a service's first hops in two snapshots. Backends are the same by id and address."""
    pairs, anew = _pairs(before, old, after, new)
    was, now = _pool(before, old), _pool(after, new)
    same = {_key(b): b for b in now}
    unchanged = {_key(b) for b in was if _key(b) in same and _facts(b) == _facts(same[_key(b)])}
    left: dict[int, float] = {}
    between = 0.0
    for (hop_before, hop_after), share in pairs.items():
        if hop_before == HOP_NONE:
            continue  # these flows had no backend to lose
        mine = _key(was[hop_before])
        other = None if hop_after == HOP_NONE else _key(now[hop_after])
        if mine == other:
            continue
        left[was[hop_before].id] = left.get(was[hop_before].id, 0.0) + share
        if mine in unchanged and other in unchanged:
            between += share
    return Moves(sum(left.values()), between, left, anew)


def same_rows(before: Snapshot, old: ServiceInfo, after: Snapshot, new: ServiceInfo) -> bool:
    """Tell whether every flow has the same row number in both."""
    size_before, size_after = before.tables[old.table].rows, after.tables[new.table].rows
    return size_before == size_after and _hash(old) == _hash(new)


def _pairs(before: Snapshot, old: ServiceInfo, after: Snapshot, new: ServiceInfo) -> tuple[Pairs, bool]:
    was, now = _firsts(before, old.table), _firsts(after, new.table)
    both_low_bits = all(len(firsts) & (len(firsts) - 1) == 0 for firsts in (was, now))
    if same_rows(before, old, after, new) or (both_low_bits and _hash(old) == _hash(new)):
        size = max(len(was), len(now))  # a row of the smaller table is low bits of those of the larger one
        counts = Counter(zip(was * (size // len(was)), now * (size // len(now)), strict=True))
        return {pair: count / size for pair, count in counts.items()}, len(was) != len(now)
    return {
        (a, b): count_a * count_b / (len(was) * len(now))
        for a, count_a in Counter(was).items()
        for b, count_b in Counter(now).items()
    }, True


def _hash(service: ServiceInfo) -> tuple[object, ...]:
    return service.hash_fields, service.hash_key, service.source_bits


def _firsts(snapshot: Snapshot, table: int) -> "array[int]":
    return snapshot.rows(table)[:: snapshot.tables[table].hops]


def _pool(snapshot: Snapshot, service: ServiceInfo) -> tuple[BackendInfo, ...]:
    table = snapshot.tables[service.table]
    return snapshot.backends[table.backend_base : table.backend_base + table.backend_count]


def _key(backend: BackendInfo) -> tuple[object, ...]:
    return backend.id, backend.address


def _facts(backend: BackendInfo) -> tuple[object, ...]:
    return backend.state, backend.health, backend.weight
