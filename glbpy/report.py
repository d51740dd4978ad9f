"""The report of a compile: who leaves chains, and who surprises a director that follows later.

Without it no connection breaks; whatever breaks is in it (tests/model). A pure function of snapshots.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glbpy.snapshot import Compiler, Snapshot
from glbpy.status import Leaver


@dataclass(frozen=True)
class Surprise:
    """A director does not have a backend at all in ``rows`` in which others give it new connections now."""

    director: str
    service: str
    backend: str
    rows: int

    def __str__(self) -> str:
        return (
            f"director {self.director} does not have {self.backend} in {self.rows} rows of {self.service} "
            "in which it gets new connections now: until it follows they may break there"
        )


@dataclass(frozen=True)
class Report:
    leavers: tuple[Leaver, ...] = ()
    surprises: tuple[Surprise, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.leavers or self.surprises)


def report(
    compiler: Compiler, running: Mapping[str, Snapshot | None], latest: Snapshot | None, snapshot: Snapshot
) -> Report:
    """Compare ``snapshot`` with what each director forwards from, and may be loading: the ``latest`` one.

    ``running`` is by director, None where it is not known. Of several findings about one backend the one
    with most rows is kept.
    """
    leavers: dict[tuple[str, str], Leaver] = {}
    surprises: dict[tuple[str, str, str], Surprise] = {}
    strangers: dict[str, Sequence[Leaver]] = {}  # by digest of what a director may forward from
    for director, known in running.items():
        for before in {s.digest: s for s in (known, latest) if s is not None}.values():
            if before.digest not in strangers:
                for leaver in compiler.leavers(before, snapshot):
                    most = leavers.get((leaver.service, leaver.backend))
                    if most is None or most.rows < leaver.rows:
                        leavers[leaver.service, leaver.backend] = leaver
                alone = len(running) == 1
                strangers[before.digest] = () if alone else compiler.leavers(snapshot, before)
            for stranger in strangers[before.digest]:
                key = (director, stranger.service, stranger.backend)
                if stranger.first > (surprises[key].rows if key in surprises else 0):
                    surprises[key] = Surprise(*key, stranger.first)
    return Report(tuple(leavers.values()), tuple(surprises.values()))
