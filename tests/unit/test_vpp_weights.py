"""The steps of VPP's test of weights (test_lb_as_set_weight, tests/README.md), of both algorithms.

VPP's table has 1024 buckets; a share here is of a service's rows, as the first hop: what new connections get.
"""

from collections import Counter
from typing import Any

import pytest

from glbpy import _native as native
from glbpy.compiler import configuration, offline
from glbpy.models import Document, parse
from glbpy.rows import Rows, rows_of

SIZES = {"rendezvous": 65536, "maglev": 65537}


class Pool:
    """Backends of a service on a prefix, by name, that a test changes."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self.backends: dict[str, dict[str, Any]] = {}
        for n in range(1, 5):
            self.set(f"b{n}", weight=100)

    def set(self, name: str, **fields: Any) -> None:
        made = self.backends.setdefault(name, {"name": name, "address": f"10.0.0.{name[1:]}"})
        made.update(fields)

    def document(self) -> Document:
        service = {
            "name": "s", "vips": ["192.0.2.0/24"], "protocol": "any", "ports": ["any"], "pool": "p",
            "algorithm": self.algorithm, "seed": "11" * 16,
        }  # fmt: skip
        return parse(
            Document, {"pools": [{"name": "p", "backends": [*self.backends.values()]}], "services": [service]}
        )

    def rows(self) -> Rows:
        state, secret = offline(self.document())
        return rows_of(state, secret, "s", {})

    def shares(self) -> dict[str, int]:
        """Rows by the backend that is their first hop, checked to be all rows."""
        found = self.rows()
        shares = dict(zip(self.backends, found.firsts(), strict=True))
        assert sum(shares.values()) == SIZES[self.algorithm]
        return shares

    def check(self, **weights: int) -> None:
        """Each backend has what its weight entitles it to: with maglev to a row or so, else nearly."""
        total = sum(weights.values())
        for name, share in self.shares().items():
            wanted = SIZES[self.algorithm] * weights[name] / total
            slack = 2 if self.algorithm == "maglev" else 0.03 * wanted
            assert abs(share - wanted) <= slack, (name, share, wanted)

    def snapshot(self) -> bytes:
        return native.compile_snapshot(configuration(*offline(self.document()), {}))


@pytest.fixture(params=SIZES)
def pool(request: pytest.FixtureRequest) -> Pool:
    return Pool(request.param)


def test_the_steps(pool: Pool) -> None:
    pool.check(b1=100, b2=100, b3=100, b4=100)
    pool.set("b1", weight=50)
    pool.check(b1=50, b2=100, b3=100, b4=100)
    pool.set("b2", weight=0)
    pool.check(b1=50, b2=0, b3=100, b4=100)
    before = pool.shares()
    pool.set("b5", weight=0)  # no traffic until it is ramped up
    assert pool.shares() == {**before, "b5": 0}
    pool.set("b5", weight=50)
    pool.check(b1=50, b2=0, b3=100, b4=100, b5=50)
    pool.set("b1", weight=0)  # graceful
    pool.check(b1=0, b2=0, b3=100, b4=100, b5=50)
    pool.set("b3", state="inactive")  # hard
    pool.check(b1=0, b2=0, b3=0, b4=100, b5=50)
    pool.set("b4", weight=100)  # again: nothing changes
    once = pool.snapshot()
    pool.set("b3", state="inactive")
    assert pool.snapshot() == once


def test_what_becomes_of_connections() -> None:
    """Drained, by weight 0 or by state, a backend stays in its chains; inactive, it does not."""
    pool = Pool("rendezvous")
    were = [n for n, chain in enumerate(pool.rows().chains) if chain[0] == 0]
    assert len(were) > 10000
    for change in ({"weight": 0}, {"weight": 100, "state": "draining"}):
        pool.set("b1", **change)
        chains = pool.rows().chains
        assert all(0 not in chains[n][:1] for n in were)
        assert Counter(0 in chains[n] for n in were) == {True: len(were)}
    pool.set("b1", state="inactive")
    assert not any(0 in chain for chain in pool.rows().chains)
