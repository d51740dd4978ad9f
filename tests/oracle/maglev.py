"""Maglev: the population of section 3.4 of the paper in turns, weighted, and the rows of a pool."""

from collections.abc import Sequence

from oracle import weights
from oracle.rows import Backend
from oracle.siphash import siphash24


def populate(permutations: Sequence[tuple[int, int]], shares: Sequence[int], size: int) -> list[int]:
    """Return which backend has each row; it claims one in the turns in which its account allows it."""
    if not shares:
        return []
    rows = [-1] * size
    account, place = [0] * len(shares), [0] * len(shares)
    left = size
    while True:
        for i, (offset, skip) in enumerate(permutations):
            account[i] += shares[i]
            if account[i] < max(shares):
                continue
            account[i] -= max(shares)
            while rows[(offset + place[i] * skip) % size] != -1:
                place[i] += 1
            rows[(offset + place[i] * skip) % size] = i
            left -= 1
            if left == 0:
                return rows


def permutation(seed: bytes, backend: Backend, size: int) -> tuple[int, int]:
    offset, skip = (siphash24(seed, backend.packed + bytes([what])) for what in (0, 1))
    return offset % size, skip % (size - 1) + 1


def rank(backend: Backend) -> int:
    """Return the class of backends that serve together: those of the lowest that there are."""
    if backend.available:
        return 0
    return 3 if backend.unhealthy else 2 if backend.state == "filling" else 1


def chains(seed: bytes, backends: Sequence[Backend], size: int, hops: int) -> list[list[int]]:
    members = [i for i, backend in enumerate(backends) if backend.state != "inactive"]
    members.sort(key=lambda i: (len(backends[i].packed), backends[i].packed))
    if not members:
        return [[]] * size
    counted = dict(zip(members, weights.effective([backends[i].weight for i in members]), strict=True))

    def table(chosen: list[int]) -> list[int]:
        permutations = [permutation(seed, backends[i], size) for i in chosen]
        return [chosen[i] for i in populate(permutations, [counted[i] for i in chosen], size)]

    best = min(rank(backends[i]) for i in members)
    serving = table([i for i in members if rank(backends[i]) == best])
    everybody = table(members)
    return [list(dict.fromkeys(pair))[:hops] for pair in zip(serving, everybody, strict=True)]
