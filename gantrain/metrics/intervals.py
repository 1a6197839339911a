"""95% intervals of quality metrics, from random halves of the images.

A metric is computed again and again on random halves of the real and of the generated images, drawn
without replacement. The spread of these values estimates the standard deviation of the metric of
all images: that of a mean over n/2 of n images is, given the n images, the same as that of the
mean over n (the delete-half jackknife; Shao & Wu 1989, Politis, Romano & Wolf 1999). The usual
bootstrap draws with replacement, so that a third of the images come twice; this adds to FID, and
the copies shrink the balls of nearest neighbours that coverage counts. Halves have no copies. The
interval is centred on the value of all images, since halves have a bias of their own.

An interval is that of the measurement with as many images, drawn anew. It does not contain what FID
would be with infinitely many: FID is too large by about the same at equal numbers of images, also
that of real images against other real images. Where two sets do not differ at all, intervals of FID
and KID are too wide, by up to √3, because these are quadratic there.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantrain.common.statistics import Interval, t_quantile, wilson_interval

REPLICATES = 60  # their spread is known to a tenth

Halves = Iterator[tuple[Tensor, Tensor]]


def random_halves(real: int, fake: int, replicates: int = REPLICATES, seed: int = 0) -> Halves:
    """Yield the rows of random halves of `real` and of `fake` images, int64, unsorted."""
    random = np.random.default_rng(seed)
    for _ in range(replicates):
        halves = (random.permutation(count)[: (count + 1) // 2] for count in (real, fake))
        one, other = (torch.from_numpy(half) for half in halves)
        yield one, other


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of a metric of all images, from its values on random halves.

    NaN if fewer than two of them are finite.
    """
    finite = [value for value in values if math.isfinite(value)]
    return float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan


def symmetric_interval(
    value: float, halves: Sequence[float], lowest: float = -math.inf
) -> Interval:
    """Return the interval of a metric with these values on random halves.

    lowest: the smallest value that the metric can have.
    """
    half = t_quantile(max(len(halves) - 1, 1)) * deviation(halves)
    return max(value - half, lowest), value + half


def fraction_interval(value: float, count: int, halves: Sequence[float] = ()) -> Interval:
    """Return the interval of a fraction of `count` images.

    halves: its values on random halves, if the images are not independent, such as those near an
    image that they share. Then `count` becomes as many independent images as would have the same
    deviation, if these are fewer (Korn & Graubard 1998); the interval is Wilson's.
    """
    spread = deviation(halves) if halves else 0.0
    effective = float(count)
    if math.isfinite(spread) and spread > 0 and 0 < value < 1:
        effective = min(effective, value * (1 - value) / spread**2)
    return wilson_interval(value, max(effective, 1.0))


def statistic_interval(
    statistic: Callable[[Tensor, Tensor], float],
    real: Tensor,
    fake: Tensor,
    *,
    lowest: float = -math.inf,
    replicates: int = REPLICATES,
) -> Interval:
    """Return the interval of any statistic of two sets of rows, with its value at the centre.

    For example the AUC of a classifier two-sample test, of the scores (N,) and (M,) of real and
    generated images.
    """
    halves = [
        statistic(real[rows], fake[columns])
        for rows, columns in random_halves(len(real), len(fake), replicates)
    ]
    return symmetric_interval(statistic(real, fake), halves, lowest)


def drawn_shares(counts: NDArray[np.int64], draws: int = 1000) -> NDArray[np.float64]:
    """Return shares of classes that agree with these counts, float64 (draws, K).

    counts: (K,), images in each class.

    They are drawn from the distribution of the shares given the counts, the Dirichlet distribution
    with Jeffreys' prior of ½ per class. This is the Bayesian bootstrap (Rubin 1981), except that a
    class without any image here may have some among others.
    """
    return np.random.default_rng(0).dirichlet(counts + 0.5, size=draws)


def drawn_interval(value: float, drawn: Sequence[float]) -> Interval:
    """Return the interval of a function of the shares, extended to its value if that lies outside.

    drawn: the function of each row of `drawn_shares`.
    """
    low, high = np.quantile(drawn, (0.025, 0.975))
    return min(float(low), value), max(float(high), value)


def centred_interval(value: float, drawn: Sequence[float], lowest: float) -> Interval:
    """Return the same for a function that is too large on average, as a divergence of counts is.

    The drawn values are too large by as much again, so their mean is moved to the value.
    """
    low, high = np.quantile(drawn, (0.025, 0.975)) - np.mean(drawn) + value
    return max(float(low), lowest), float(high)
