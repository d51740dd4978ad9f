"""Rows: the rendezvous order of a pool's backends, and the chain that a policy makes of it."""

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from oracle import weights
from oracle.siphash import pack, siphash24_lanes, words

CHUNK = 2048  # rows hashed at once: the lanes then fit the processor's cache
NONE = 0xFFFF


@dataclass(frozen=True)
class Backend:
    address: str
    state: str = "active"  # active | filling | draining | inactive
    health: str = "unknown"  # healthy | unhealthy | unknown (counts as healthy)
    weight: int = 1

    @property
    def unhealthy(self) -> bool:
        return self.health == "unhealthy"

    @property
    def available(self) -> bool:
        return self.state == "active" and not self.unhealthy and self.weight > 0

    @property
    def packed(self) -> bytes:
        return ip_address(self.address).packed


def orders(
    seed: bytes, backends: Sequence[Backend], first: int, count: int, keep: int
) -> Iterator[list[int]]:
    """Yield, for each row from `first`, the indices of the first `keep` backends (but inactive) by score."""
    members = [index for index, backend in enumerate(backends) if backend.state != "inactive"]
    counted = weights.effective([backends[index].weight for index in members])
    for start in range(first, first + count, CHUNK):
        lanes = min(CHUNK, first + count - start)
        numbers = [words(struct.pack(">I", row))[0] for row in range(start, start + lanes)]
        seeds = pack(siphash24_lanes(seed, [pack(numbers)], lanes))
        columns = []
        for index in members:
            # The row seed is the message's first word, so the rest is the same in every lane.
            rest = words(bytes(8) + backends[index].packed)[1:]
            message = [seeds, *(pack(array("Q", [word]) * lanes) for word in rest)]
            digests = siphash24_lanes(seed, message, lanes)
            digests.byteswap()
            columns.append(digests)
        if not columns:
            yield from ([] for _ in range(lanes))
            continue
        for scores in zip(*columns, strict=True):
            if len(set(counted)) > 1:
                keyed = [(weights.key(*pair), pair[0]) for pair in zip(scores, counted, strict=True)]
                places = sorted(range(len(keyed)), key=keyed.__getitem__)[:keep]
            else:
                places = smallest(scores, keep)
            yield [members[place] for place in places]


def smallest(scores: Sequence[int], keep: int) -> list[int]:
    """Return the places of the `keep` lowest scores, ascending; ties in order of place."""
    if keep <= 2 < len(scores):  # the common case, without sorting hundreds of scores a row
        first = scores.index(min(scores))
        rest = [*scores[:first], 1 << 64, *scores[first + 1 :]]
        return [first, rest.index(min(rest))][:keep]
    return sorted(range(len(scores)), key=scores.__getitem__)[:keep]


def chain_glb(order: Sequence[int], backends: Sequence[Backend]) -> list[int]:
    """GLB's rule: swap the two when the first is draining or unhealthy and the second's state is active."""
    chain = list(order[:2])
    if len(chain) == 2:
        first, second = (backends[index] for index in chain)
        if (first.state == "draining" or first.unhealthy) and second.state == "active":
            chain.reverse()
    return chain


def chain_ordered(order: Sequence[int], backends: Sequence[Backend], hops: int) -> list[int]:
    """The four rules of policy `ordered`; `order` is the row's whole order."""
    candidates = list(order[:hops])
    if not any(backends[index].available for index in order):
        ranks = {"draining": 0, "active": 0, "filling": 1}  # an active one is of weight 0, and like draining
        return sorted(candidates, key=lambda i: 2 if backends[i].unhealthy else ranks[backends[i].state])

    def rank(index: int) -> int:
        backend = backends[index]
        return 0 if backend.available else 2 if backend.unhealthy else 1

    chain = sorted(candidates, key=rank)
    if not backends[chain[0]].available:
        chain.insert(0, next(index for index in order if backends[index].available))
    return chain[:hops]


def chains(
    seed: bytes, backends: Sequence[Backend], rows: int, hops: int, policy: str, first: int = 0
) -> Iterator[list[int]]:
    """Yield the chains of `rows` rows from `first` on, each a list of positions in `backends`."""
    if policy == "glb":
        for order in orders(seed, backends, first, rows, 2):
            yield chain_glb(order, backends)
    else:
        for order in orders(seed, backends, first, rows, len(backends)):
            yield chain_ordered(order, backends, hops)


def encode(table: Sequence[Sequence[int]], hops: int) -> bytes:
    """Return rows as libglb stores them: little-endian u16 per hop, 0xffff where a chain is shorter."""
    flat = array("H")
    for chain in table:
        flat.extend([*chain, *[NONE] * (hops - len(chain))])
    return struct.pack(f"<{len(flat)}H", *flat)
