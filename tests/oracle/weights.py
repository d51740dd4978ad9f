"""Weighted scores: the fixed-point keys of hashing.md, by exact logarithms and unbounded integers."""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from functools import cache

STEPS = 1024
ONE = 1 << 48  # 1.0 of a logarithm


@cache
def logarithms() -> list[int]:
    """Return floor(2^48 * log2(1 + i / 1024)) for i from 0 to 1024."""
    with localcontext() as context:
        context.prec = 50
        two = Decimal(2).ln()
        exact = [ONE * (Decimal(STEPS + i) / STEPS).ln() / two for i in range(STEPS)]
    assert all(min(x % 1, 1 - x % 1) > Decimal("1e-9") for x in exact[1:])  # no floor is in doubt
    return [int(x) for x in exact] + [ONE]


def log2(value: int) -> int:
    """Return 2^48 * log2 of a whole number, by chords over 1024 parts of each octave, 24 bits within each."""
    exponent = value.bit_length() - 1
    within = (value << 63 >> exponent) - (1 << 63)
    step, rest = divmod(within, 1 << 53)
    low, high = logarithms()[step : step + 2]
    return exponent * ONE + low + (high - low) * (rest >> 29) // (1 << 24)


def key(score: int, weight: int) -> int:
    """Return what backends of different weights are sorted by."""
    distance = 64 * ONE - log2(max(1, (1 << 64) - 1 - score))
    return distance * (ONE // weight) >> 39


def effective(weights: Sequence[int]) -> list[int]:
    """Return the weights that the backends of a pool (but inactive ones) count with: 0 as the largest."""
    largest = max(weights, default=0) or 1
    return [weight or largest for weight in weights]
