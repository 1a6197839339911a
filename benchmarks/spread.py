"""Medians with quartiles, and ratios of measurements that were interleaved."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A median, and half the interquartile range."""

    median: float
    half: float


def spread_of(values: Sequence[float]) -> Spread:
    """Return the spread of at least one value."""
    if len(values) < 2:
        return Spread(values[0], 0.0)
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(statistics.median(values), (third - first) / 2)


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Return the spread of the ratios of measurements that were taken next to each other."""
    return spread_of([a / b for a, b in zip(numerators, denominators, strict=True)])
