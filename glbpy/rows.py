"""A service's row table by itself, as the compiler makes it: which backends serve a row, in which order.

Compiled by the same code, from the same input, as the snapshots that directors load; the rest of the
configuration is left out.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from glbpy import _native
from glbpy._native import HOP_NONE, BackendInfo
from glbpy.compiler import configuration
from glbpy.desired import Desired
from glbpy.errors import InvalidInputError
from glbpy.models import Document, Health, Service


@dataclass(frozen=True)
class Rows:
    """A service's rows. A chain has positions in ``backends``, the pool in the order of its document."""

    service: Service
    backends: tuple[BackendInfo, ...]
    chains: list[list[int]]

    def firsts(self) -> list[int]:
        """Return how many rows each backend is the first hop of: its share of new connections."""
        return self._count(Counter(chain[0] for chain in self.chains if chain))

    def members(self) -> list[int]:
        """Return how many rows' chains each backend is in."""
        return self._count(Counter(hop for chain in self.chains for hop in chain))

    def _count(self, counts: Counter[int]) -> list[int]:
        return [counts[position] for position in range(len(self.backends))]

    def evenness(self) -> tuple[float, float]:
        """Return the lowest and the highest number of first hops relative to what the weight entitles to.

        Among the backends that are first somewhere; (1.0, 1.0) where there are none.
        """
        firsts = self.firsts()
        serving = [(n, b.weight or 1) for n, b in zip(firsts, self.backends, strict=True) if n]
        total, weights = sum(n for n, _ in serving), sum(weight for _, weight in serving)
        ratios = [n * weights / (total * weight) for n, weight in serving]
        return min(ratios, default=1.0), max(ratios, default=1.0)


def rows_of(state: Desired, secret: bytes, name: str, health: Mapping[int, Health]) -> Rows:
    """Compile the rows of the service ``name``. Raises InvalidInputError when there is none such."""
    service = state.document.service(name)
    if service is None:
        known = ", ".join(s.name for s in state.document.services) or "none"
        raise InvalidInputError(f"--service {name}: there is no such service; there are: {known}")
    pool = state.document.pool(service.pool)
    assert pool is not None  # the whole document was checked
    alone = replace(state, document=Document(pools=(pool,), services=(service,)))
    snapshot = _native.Snapshot(_native.compile_snapshot(configuration(alone, secret, health)))
    return Rows(service, *_chains(snapshot, snapshot.services[0].table))


def _chains(snapshot: _native.Snapshot, table: int) -> tuple[tuple[BackendInfo, ...], list[list[int]]]:
    info = snapshot.tables[table]
    flat = snapshot.rows(table).tolist()
    chains = [
        [hop for hop in flat[at : at + info.hops] if hop != HOP_NONE] for at in range(0, len(flat), info.hops)
    ]
    return snapshot.backends[info.backend_base : info.backend_base + info.backend_count], chains
