"""95% intervals of numbers that are known from samples. Needs no torch."""

import math
from collections.abc import Sequence

Interval = tuple[float, float]

# The 97.5% quantile of Student's t distribution with 1, 2, … degrees of freedom.
_T_QUANTILES = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
)
_Z = 1.959964


def t_quantile(degrees: int) -> float:
    """Return the 97.5% quantile of Student's t distribution, to four digits."""
    if degrees <= len(_T_QUANTILES):
        return _T_QUANTILES[degrees - 1]
    # The Cornish-Fisher expansion (Abramowitz & Stegun 26.7.5).
    first = (_Z**3 + _Z) / (4 * degrees)
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * degrees**2)
    return _Z + first + second


def t_interval(values: Sequence[float]) -> Interval | None:
    """Return the 95% interval of the mean of independent values; None with fewer than two."""
    count = len(values)
    if count < 2 or not all(map(math.isfinite, values)):
        return None
    mean = math.fsum(values) / count
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = t_quantile(count - 1) * math.sqrt(variance / count)
    return mean - half, mean + half


def wilson_interval(fraction: float, count: float) -> Interval:
    """Return the 95% interval of a fraction of `count` independent cases (Wilson 1927).

    Unlike a normal interval it stays inside [0, 1], and has a width at 0 and at 1.
    """
    centre = fraction + _Z**2 / (2 * count)
    half = _Z * math.sqrt(fraction * (1 - fraction) / count + _Z**2 / (4 * count**2))
    scale = 1 + _Z**2 / count
    # Not with the rounding of the difference, where it is 0.
    low = (centre - half) / scale if fraction > 0 else 0.0
    high = (centre + half) / scale if fraction < 1 else 1.0
    return max(low, 0.0), min(high, 1.0)


def differ(one: float, one_range: Interval, other: float, other_range: Interval) -> bool:
    """Return whether two independent values differ by more than their 95% intervals explain.

    The interval of the difference is recovered from those of the values, which may be lopsided
    (MOVER; Zou & Donner 2008). For symmetric intervals this is the usual test of a difference. It
    finds more than looking for intervals that do not overlap.
    """
    if one > other:
        one, one_range, other, other_range = other, other_range, one, one_range
    return other - one > math.hypot(one_range[1] - one, other - other_range[0])
