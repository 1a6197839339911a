"""Intervals compared with scipy, and by how often they contain the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gantrain.common.statistics import differ, t_interval, t_quantile, wilson_interval


@given(st.integers(1, 100_000))
def test_t_quantiles_are_those_of_scipy(degrees: int) -> None:
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-4)


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    values = [3.1, 2.7, 4.0, 3.3]
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx(expected, rel=1e-4)
    assert t_interval([1.0]) is None
    assert t_interval([1.0, float("nan")]) is None


@given(st.integers(1, 500), st.data())
def test_intervals_of_fractions_are_those_of_scipy(count: int, data: st.DataObject) -> None:
    cases = data.draw(st.integers(0, count))
    expected = stats.binomtest(cases, count).proportion_ci(0.95, "wilson")
    assert wilson_interval(cases / count, count) == pytest.approx(expected, abs=1e-6)


def test_two_fractions_differ_about_as_often_as_a_chi_square_test_says() -> None:
    random = np.random.default_rng(0)
    agreed = 0
    for one, other in random.binomial(400, [0.3, 0.37], (500, 2)):
        wanted = stats.chi2_contingency([[one, 400 - one], [other, 400 - other]], correction=False)
        fractions = [n / 400 for n in (one, other)]
        found = differ(
            fractions[0],
            wilson_interval(fractions[0], 400),
            fractions[1],
            wilson_interval(fractions[1], 400),
        )
        agreed += found == (wanted.pvalue < 0.05)
    assert agreed >= 490


def test_equal_values_rarely_differ_and_their_order_does_not_matter() -> None:
    random = np.random.default_rng(1)
    false = 0
    for one, other in random.normal(0, 1, (1000, 2)):
        ranges = [(value - 1.96, value + 1.96) for value in (one, other)]
        false += differ(one, ranges[0], other, ranges[1])
        assert differ(one, ranges[0], other, ranges[1]) == differ(other, ranges[1], one, ranges[0])
    assert 30 <= false <= 70
