"""Class coverage of predictions with known class counts."""

import math

import pytest
import torch
from torch import Tensor

from gantrain.metrics.coverage import class_coverage


def logits_of(predicted: list[int], classes: int) -> Tensor:
    """Return logits that predict these classes."""
    return torch.nn.functional.one_hot(torch.tensor(predicted), classes).float()


def test_a_class_counts_from_a_tenth_of_its_frequency_in_the_data() -> None:
    predicted = [0] * 500 + [1] * 450 + [2] * 26 + [3] * 24
    coverage = class_coverage(logits_of(predicted, 4), torch.full((4,), 0.25))
    assert (coverage.covered, coverage.total) == (3, 4)
    expected = sum(n / 1000 * math.log(n / 250) for n in (500, 450, 26, 24))
    assert coverage.divergence == pytest.approx(expected)


def test_a_single_class_diverges_by_the_logarithm_of_the_number_of_classes() -> None:
    single = class_coverage(logits_of([3] * 100, 10), torch.full((10,), 0.1))
    assert single.covered == 1
    assert single.divergence == pytest.approx(math.log(10))
    balanced = class_coverage(logits_of(list(range(10)) * 10, 10), torch.full((10,), 0.1))
    assert balanced.covered == 10
    assert balanced.divergence == pytest.approx(0, abs=1e-12)


def test_classes_without_training_images_do_not_count() -> None:
    logits = torch.tensor([[1.0, 9.0, 0.0], [0.0, 9.0, 1.0]])
    coverage = class_coverage(logits, torch.tensor([0.5, 0.0, 0.5]))
    assert (coverage.covered, coverage.total) == (2, 2)
    assert coverage.divergence == pytest.approx(0)
