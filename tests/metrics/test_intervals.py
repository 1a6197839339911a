"""Intervals of metrics contain the truth about as often as stated."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gantrain.metrics.distances import (
    Moments,
    frechet_distance,
    kernel_distance,
    kernel_distance_of_subsets,
)
from gantrain.metrics.intervals import (
    centred_interval,
    deviation,
    drawn_shares,
    fraction_interval,
    random_halves,
    statistic_interval,
    symmetric_interval,
)
from gantrain.metrics.neighbours import Distances

TRIALS = 200  # of which 182 to 197 contain the truth in 98% of cases


def fid(x: Tensor, y: Tensor) -> float:
    return frechet_distance(Moments.of(x), Moments.of(y))


def normal(seed: int, count: int, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(shift, scale, (count, 4)))


def test_intervals_of_fid_contain_the_closed_form_of_two_gaussians() -> None:
    shift, scale = 0.5, 1.5
    truth = 4 * (shift**2 + (scale - 1) ** 2)  # Dowson & Landau 1982
    inside = 0
    for seed in range(TRIALS):
        x, y = normal(2 * seed, 600), normal(2 * seed + 1, 600, shift, scale)
        low, high = statistic_interval(fid, x, y, replicates=30)
        inside += low <= truth <= high
    assert 182 <= inside <= 197


def test_intervals_of_fid_contain_its_mean_for_equal_gaussians_too() -> None:
    """FID is then of second order, and its intervals are wider than they need to be."""
    values, inside = [], []
    for seed in range(TRIALS):
        x, y = normal(2 * seed, 200), normal(2 * seed + 1, 200)
        halves = [fid(x[i], y[j]) for i, j in random_halves(200, 200, 20)]
        values.append(fid(x, y))
        inside.append(symmetric_interval(values[-1], halves, 0.0))
    truth = math.fsum(values) / TRIALS
    assert truth > 0.02  # the bias of FID, of which the interval does not speak
    assert sum(low <= truth <= high for low, high in inside) >= 188


def mean_kernel(a: float, b: float) -> float:
    """Return E (x·y / 4 + 1)³ of x and y around (a, a, a, a) and (b, b, b, b)."""
    m, squares = 4 * a * b, 4 * a**2 + 4 * b**2 + 4
    second, third = squares + m**2, m**3 + 3 * m * (squares + 2)
    return third / 64 + 3 * second / 16 + 3 * m / 4 + 1


@pytest.mark.parametrize(("shift", "most"), [(0.4, 198), (0.0, 200)])
def test_intervals_of_kid_contain_the_closed_form_of_two_gaussians(shift: float, most: int) -> None:
    truth = mean_kernel(0, 0) + mean_kernel(shift, shift) - 2 * mean_kernel(0, shift)
    inside = 0
    for seed in range(TRIALS):
        x, y = normal(2 * seed, 200), normal(2 * seed + 1, 200, shift)
        halves = kernel_distance_of_subsets(x, y, list(random_halves(200, 200, 30)))
        low, high = symmetric_interval(kernel_distance(x, y), halves)
        inside += low <= truth <= high
    assert 182 <= inside <= most


def test_kernel_distances_of_subsets_are_those_of_the_rows() -> None:
    x, y = normal(1, 30), normal(2, 21, 0.3)
    subsets = list(random_halves(30, 21, 3))
    expected = [kernel_distance(x[i], y[j]) for i, j in subsets]
    assert kernel_distance_of_subsets(x, y, subsets) == pytest.approx(expected)
    assert all(len(set(i.tolist())) == 15 and len(set(j.tolist())) == 11 for i, j in subsets)


def test_intervals_of_neighbours_contain_the_mean_of_each_metric() -> None:
    names = ("precision", "recall", "density", "coverage")
    values: list[dict[str, float]] = []
    ranges: list[dict[str, tuple[float, float]]] = []
    for seed in range(TRIALS):
        distances = Distances.of(normal(2 * seed, 150), normal(2 * seed + 1, 150, 0.5, 0.8))
        halves = [distances.subset(*pair).metrics() for pair in random_halves(150, 150, 16)]
        values.append(distances.metrics())
        ranges.append({})
        for name in names:
            found, value = [half[name] for half in halves], values[-1][name]
            ranges[-1][name] = (
                symmetric_interval(value, found, 0.0)
                if name == "density"
                else fraction_interval(value, 150, found)
            )
    for name in names:
        truth = math.fsum(value[name] for value in values) / TRIALS
        inside = sum(each[name][0] <= truth <= each[name][1] for each in ranges)
        assert 180 <= inside <= 199, name


def test_fractions_of_independent_images_have_the_interval_of_scipy() -> None:
    expected = stats.binomtest(0, 50).proportion_ci(0.95, "wilson")
    assert fraction_interval(0.0, 50) == pytest.approx(expected, abs=1e-6)
    independent = fraction_interval(0.2, 100, [0.2, 0.2])
    low, high = fraction_interval(0.2, 100, [0.1, 0.3, 0.2])
    assert low < independent[0] < 0.2 < independent[1] < high


def divergence(shares: np.ndarray) -> float:
    return float(np.sum(shares * np.log(np.maximum(shares * len(shares), 1e-12))))


@pytest.mark.parametrize("truth", [np.full(10, 0.1), np.linspace(0.01, 0.19, 10)])
def test_intervals_of_the_divergence_contain_its_mean(truth: np.ndarray) -> None:
    random = np.random.default_rng(0)
    values, ranges = [], []
    for counts in random.multinomial(1000, truth / truth.sum(), size=TRIALS):
        drawn = [divergence(row) for row in drawn_shares(counts, 300)]
        values.append(divergence(counts / 1000))
        ranges.append(centred_interval(values[-1], drawn, 0.0))
    mean = math.fsum(values) / TRIALS
    assert sum(low <= mean <= high for low, high in ranges) >= 182


def test_values_that_are_not_finite_are_left_out() -> None:
    assert deviation([1.0, math.nan, 3.0]) == pytest.approx(math.sqrt(2))
    assert math.isnan(deviation([1.0, math.inf]))


def test_intervals_of_a_mean_are_those_of_its_standard_error() -> None:
    mean: Callable[[Tensor, Tensor], float] = lambda x, _: float(x.mean())  # noqa: E731
    x = torch.from_numpy(np.random.default_rng(3).normal(0, 1, 400))
    low, high = statistic_interval(mean, x, x, replicates=2000)
    assert (high - low) / 2 == pytest.approx(1.96 * float(x.std()) / 20, rel=0.05)
