"""What a measurement came to, as JSON and as a line of text."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


class Failed(Exception):
    """Something cannot be measured, and why."""


@dataclass(frozen=True)
class Result:
    """Of ``n`` rounds. ``floor_median``: what is measured beside it, where there is such a thing."""

    name: str
    unit: str  # ns, ms, …; ratio: at least the target, all others at most
    median: float
    min: float
    max: float
    n: int
    floor_median: float | None
    target: float | None  # None: nothing was promised
    met: bool | None


def summarise(
    name: str, unit: str, values: Sequence[float], target: float | None, floors: Sequence[float] = ()
) -> Result:
    median = round(statistics.median(values), 3)
    met = None
    if target is not None:
        target = round(target, 3)
        met = median >= target if unit == "ratio" else median <= target
    return Result(
        name, unit, median, round(min(values), 3), round(max(values), 3), len(values),
        round(statistics.median(floors), 3) if floors else None, target, met,
    )  # fmt: skip


def write(path: Path, results: Sequence[Result]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")


def read(path: Path) -> list[Result]:
    """Raises OSError, ValueError or TypeError: not such a file."""
    return [Result(**item) for item in json.loads(path.read_text())]


def line(result: Result) -> str:
    floor = f" above {result.floor_median:.1f}" if result.floor_median is not None else ""
    bound = "at least" if result.unit == "ratio" else "at most"
    target = "" if result.target is None else (
        f"; target {bound} {result.target:g}: {'met' if result.met else 'missed'}"
    )
    return (
        f"{result.name:22} {result.median:8.2f} {result.unit:5} ({result.min:.2f} to {result.max:.2f}, "
        f"{result.n} rounds){floor}{target}"
    )
