"""Ranks, and the rank correlation of two sequences."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gantrain.common.statistics import Interval

Numbers = Sequence[float] | NDArray[np.float64]

_DRAWS = 2000


def mean_ranks(numbers: Numbers) -> NDArray[np.float64]:
    """Return the rank of each number, from 0 on; equal ones have the mean of theirs."""
    values = np.asarray(numbers, float)
    below = (values[:, None] > values[None]).sum(1)
    equal = (values[:, None] == values[None]).sum(1)
    ranks: NDArray[np.float64] = below + (equal - 1) / 2
    return ranks


def rank_correlation(x: Numbers, y: Numbers) -> float:
    """Return Spearman's correlation, with mean ranks for ties.

    NaN for fewer than 3 points or a constant sequence.
    """
    if len(x) < 3:
        return math.nan
    a, b = (mean_ranks(values) for values in (x, y))
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm else math.nan


def median_correlation_interval(
    pairs: Sequence[tuple[Numbers, Numbers]],
) -> Interval:
    """Return the 95% bootstrap interval of the median of several runs' rank correlations.

    pairs: two sequences of each run, whose points are drawn anew with replacement. Points that
    follow one another depend on each other, so that the interval is rather too narrow.
    """
    rng = np.random.default_rng(0)
    arrays = [(np.asarray(x, float), np.asarray(y, float)) for x, y in pairs]
    medians = []
    for _ in range(_DRAWS):
        rows = [rng.integers(0, len(x), len(x)) for x, _ in arrays]
        drawn = [rank_correlation(x[r], y[r]) for (x, y), r in zip(arrays, rows, strict=True)]
        medians.append(float(np.median(drawn)))
    low, high = np.nanquantile(medians, (0.025, 0.975))
    return float(low), float(high)
