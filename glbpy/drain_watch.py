"""Watches draining backends: how many connections each still has, as its `glb-redirect report` says.

Asks those whose pool has ``report``, again and again while they drain; then it forgets what they said.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from glbpy import desired
from glbpy.connections_left import Asked, Count, NoReportError, ask, asked_of
from glbpy.desired import Desired
from glbpy.models import State
from glbpy.status import ConnectionsLeft

log = logging.getLogger(__name__)

INTERVAL_S = 0.25  # from answers to the next questions

Ask = Callable[[str, int, bytes, tuple[Asked, ...]], Awaitable[Count]]


@dataclass(frozen=True)
class Where:
    """Whom to ask, and for what."""

    address: str
    port: int
    asked: tuple[Asked, ...]


def draining(state: Desired) -> dict[int, Where]:
    """Return the draining backends whose pool has ``report``, by id."""
    found = {}
    for pool in state.document.pools:
        for backend in pool.backends if pool.report is not None else ():
            if backend.state == State.DRAINING and pool.report is not None:
                number = state.ids[desired.backend_path(pool.name, backend.name)]
                asked = asked_of(backend, pool, state.document.services)
                found[number] = Where(backend.address, pool.report.port, asked)
    return found


class DrainWatch:
    """Lives on one event loop. ``key``: None when there is none, and nobody can be asked."""

    def __init__(self, key: bytes | None, ask: Ask = ask) -> None:
        self._key = key
        self._ask = ask
        self._left: dict[int, ConnectionsLeft] = {}

    def left(self, backend: int) -> ConnectionsLeft | None:
        """What is known of a backend; None when it is not watched, or was not asked yet."""
        return self._left.get(backend)

    async def run(self, state: Callable[[], Desired]) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self._round(draining(state()))
            except Exception:  # a fault of ours must not end the watch
                log.exception("asking draining backends")
            await asyncio.sleep(INTERVAL_S)

    async def _round(self, wanted: Mapping[int, Where]) -> None:
        for gone in self._left.keys() - wanted.keys():
            del self._left[gone]
        await asyncio.gather(*(self._look(number, where) for number, where in wanted.items()))

    async def _look(self, number: int, where: Where) -> None:
        old = self._left.get(number, ConnectionsLeft())
        try:
            if self._key is None:
                raise NoReportError("glb serve has no --report-secret")
            count = await self._ask(where.address, where.port, self._key, where.asked)
        except NoReportError as error:
            self._left[number] = old.model_copy(update={"error": str(error)})
            if old.error is None:
                log.warning("backend %d does not say how many connections are left: %s", number, error)
            return
        self._left[number] = ConnectionsLeft(open=count.open, closing=count.closing, answers=old.answers + 1)
