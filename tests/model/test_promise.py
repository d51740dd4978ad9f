"""The promise of ARCHITECTURE.md, "Chains": what breaks was in a report, and what rails admit breaks nothing.

Random walks of operators, hosts, clients and several directors, against the real store, compiler, report and
packet path, with and without flow caches. `make model` takes many more steps; MODEL_WALKS, MODEL_STEPS and
MODEL_SEED choose how many walks of each kind, of how many steps, and from which seed on.
"""

import os
from collections.abc import Iterator

import pytest

from glbpy.report import Report
from model.walk import FailedError, play, setting, shrink, steps

WALKS = int(os.environ.get("MODEL_WALKS", "4"))
STEPS = int(os.environ.get("MODEL_STEPS", "400"))
SEED = int(os.environ.get("MODEL_SEED", "1"))


def walks(mode: str) -> Iterator[tuple[int, int, int, int]]:
    """Take the walks of a kind; yield of each: changes made, changes refused, packets, connections broken."""
    for seed in range(SEED, SEED + WALKS):
        given, walk = setting(seed, mode), steps(seed, STEPS)
        try:
            made = play(given, walk)
        except FailedError as error:
            shorter = shrink(given, walk)
            lines = "\n".join(f"    {step}," for step in shorter)
            text = f"MODEL_SEED={seed} MODEL_STEPS={STEPS}, kind {mode}: {error}\n{given}\nshrunk to\n{lines}"
            raise AssertionError(text) from error
        yield made.changed, made.refused, made.world.packets, made.world.broken


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param("strict", id="what guard rails admit breaks nothing"),
        pytest.param("rails", id="failures break only what a report has"),
        pytest.param("forced", id="whatever is done breaks only what a report has"),
    ],
)
def test_walks(mode: str) -> None:
    changed, refused, packets, broken = map(sum, zip(*walks(mode), strict=True))
    # They do what they are for.
    assert changed > 10 * WALKS
    assert packets > 1000 * WALKS
    assert (refused > 0) == (mode != "forced")
    assert mode != "forced" or broken > 0


def test_a_report_that_is_blind_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.cluster.report", lambda *_: Report())
    with pytest.raises(FailedError, match="not reported"):
        play(setting(SEED, "forced"), steps(SEED, STEPS))
