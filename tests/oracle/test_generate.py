"""The committed vectors are what the oracle makes."""

from __future__ import annotations

import pytest

from oracle import generate


@pytest.mark.parametrize("name", generate.FILES)
def test_committed_vectors_are_what_the_oracle_makes(name: str) -> None:
    committed = (generate.VECTORS / name).read_text()
    same = committed == generate.FILES[name]()
    assert same, f"run tests/oracle/generate.py: tests/vectors/{name} is out of date"


def test_vectors_are_compact() -> None:
    assert sum(path.stat().st_size for path in generate.VECTORS.iterdir()) < 2_000_000
