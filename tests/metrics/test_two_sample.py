"""The classifier two-sample test."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from gantrain.common.errors import UserError
from gantrain.metrics.two_sample import area_under_roc, two_sample_test

Scores = st.lists(st.integers(-3, 3), min_size=2, max_size=20)


@given(Scores, Scores)
def test_the_area_is_the_mann_whitney_statistic(negatives: list[int], positives: list[int]) -> None:
    area, (low, high) = area_under_roc(torch.tensor(negatives), torch.tensor(positives))
    expected = mannwhitneyu(positives, negatives).statistic / len(positives) / len(negatives)
    assert area == pytest.approx(expected)
    assert 0 <= low <= area <= high <= 1


def test_the_interval_contains_the_area_of_19_in_20_samples() -> None:
    rng = torch.Generator().manual_seed(0)
    true = 0.5 * math.erfc(-0.5)  # the probability that N(1, 1) exceeds N(0, 1)
    hits = 0
    for _ in range(400):
        low, high = area_under_roc(
            torch.randn(60, generator=rng), torch.randn(40, generator=rng) + 1
        )[1]
        hits += low <= true <= high
    assert hits / 400 == pytest.approx(0.95, abs=0.035)


def test_it_is_the_same_on_each_call_and_leaves_the_random_numbers_alone() -> None:
    rng = torch.Generator().manual_seed(0)
    real, fake = torch.randint(0, 256, (2, 100, 3, 32, 32), generator=rng, dtype=torch.uint8)
    state = torch.get_rng_state()
    assert two_sample_test(real, fake, steps=3) == two_sample_test(real, fake, steps=3)
    assert torch.equal(torch.get_rng_state(), state)


def test_too_few_images_are_a_clear_error() -> None:
    images = torch.zeros(99, 1, 32, 32, dtype=torch.uint8)
    with pytest.raises(UserError, match="99 images; a two-sample test needs 100"):
        two_sample_test(images, images)
