"""Class coverage of predictions with known class counts."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gantrain.metrics.classifier import HeldOutTest
from gantrain.metrics.coverage import ClassCounts, count_classes
from tests.metrics.test_intervals import TRIALS

NAN = math.nan


def logits_of(predicted: list[int], classes: int, sharpness: float = 10.0) -> Tensor:
    """Return logits that predict these classes."""
    return torch.nn.functional.one_hot(torch.tensor(predicted), classes) * sharpness


def as_tested(
    *recalls: float, accuracy: float = 0.9, confidence: float = 0.8, unknown: float = 0.1
) -> HeldOutTest:
    return HeldOutTest(100, accuracy, recalls, confidence, unknown, 1.0)


def equal(classes: int) -> Tensor:
    return torch.full((classes,), 1 / classes)


def test_a_class_counts_from_a_tenth_of_its_frequency_in_the_data() -> None:
    predicted = [0] * 500 + [1] * 450 + [2] * 23 + [3] * 22
    unsure = torch.zeros(5, 4)
    counts = count_classes(
        torch.cat([logits_of(predicted, 4), unsure]), equal(4), as_tested(1, 1, 1, 1)
    )
    # A tenth of the nine tenths of 250 of which the classifier is confident.
    assert counts.counts.tolist() == [500, 450, 23, 22, 5]
    metrics = counts.metrics()
    assert metrics["classes_made"] == 3
    assert metrics["classes_covered"] == 0.75
    expected = sum(n / 1000 * math.log(n / 225) for n in (500, 450, 23, 22))
    expected += 5 / 1000 * math.log(5 / 100)
    assert metrics["classes_divergence"] == pytest.approx(expected)


def test_the_divergence_is_zero_for_real_frequencies_and_large_for_a_single_class() -> None:
    single = count_classes(logits_of([3] * 100, 10), equal(10), as_tested(*[1] * 10)).metrics()
    assert single["classes_made"] == 1
    assert single["classes_divergence"] == pytest.approx(math.log(1 / 0.09))
    logits = torch.cat([logits_of(list(range(10)) * 9, 10), torch.zeros(10, 10)])
    balanced = count_classes(logits, equal(10), as_tested(*[1] * 10)).metrics()
    assert balanced["classes_made"] == 10
    assert balanced["classes_divergence"] == pytest.approx(0, abs=1e-12)


def test_classes_without_training_images_do_not_count() -> None:
    logits = torch.tensor([[1.0, 90.0, 0.0], [0.0, 90.0, 10.0]])
    counts = count_classes(
        logits, torch.tensor([0.5, 0.0, 0.5]), as_tested(1, 1, 1, confidence=0.6)
    )
    assert counts.total == 2
    assert counts.made == 2


def test_images_between_classes_and_grey_noise_show_no_class() -> None:
    between = torch.tensor([[5.0, 5.0, 0.0, 0.0]] * 50)
    noise = torch.zeros(50, 4)
    for images in (between, noise):
        metrics = count_classes(images, equal(4), as_tested(1, 1, 1, 1)).metrics()
        assert metrics["classes_made"] == 0
        assert metrics["classes_divergence"] == pytest.approx(math.log(1 / 0.1))


def test_confused_classes_are_neither_made_nor_in_the_total() -> None:
    logits = logits_of([0, 1, 2, 3] * 25, 4)
    counts = count_classes(logits, equal(4), as_tested(0.9, 0.3, NAN, 0.8))
    assert counts.total == 2
    assert counts.metrics()["classes_covered"] == 1
    assert counts.counts.tolist() == [25, 25, 50]


@pytest.mark.parametrize("rare", [0.05, 0.004, 0.0001])
def test_intervals_of_class_counts_contain_the_mean_count(rare: float) -> None:
    """Also where the shares of half of the classes are just above or below what is required."""
    shares = np.r_[np.full(10, 0.1 - rare), np.full(10, rare)]
    expected = np.append(np.full(20, 0.0475), 0.05)
    required = math.ceil(0.1 * 0.0475 * 500)
    truth = float(stats.binom.sf(required - 1, 500, shares).sum())
    random = np.random.default_rng(0)
    inside = 0
    for counts in random.multinomial(500, shares, size=TRIALS):
        low, high = ClassCounts(np.append(counts, 0), expected).intervals()["classes_made"]
        inside += low - 0.01 <= truth <= high + 0.01  # truth: 19.999 for 20
    assert inside >= 182
