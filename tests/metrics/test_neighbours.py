"""Precision, recall, density, coverage and memorisation against loops and known answers."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.metrics.neighbours import (
    memorisation,
    nearest,
    precision_recall_density_coverage,
)


def by_loops(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    """The definitions of Kynkäänniemi et al. 2019 and Naeem et al. 2020, one pair at a time."""

    def radius(points: np.ndarray, i: int) -> float:
        others = [math.dist(points[i], points[j]) for j in range(len(points)) if j != i]
        return sorted(others)[k - 1]

    real_radius = [radius(real, i) for i in range(len(real))]
    fake_radius = [radius(fake, j) for j in range(len(fake))]
    inside_real = [
        [math.dist(r, f) <= radius for f in fake]
        for r, radius in zip(real, real_radius, strict=True)
    ]
    inside_fake = [
        [math.dist(r, f) <= radius for f, radius in zip(fake, fake_radius, strict=True)]
        for r in real
    ]
    return {
        "precision": sum(any(row[j] for row in inside_real) for j in range(len(fake))) / len(fake),
        "recall": sum(any(row) for row in inside_fake) / len(real),
        "density": sum(sum(row) for row in inside_real) / (k * len(fake)),
        "coverage": sum(any(row) for row in inside_real) / len(real),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("shift", [0.0, 1.0, 30.0])
def test_the_four_numbers_are_those_of_the_definitions(k: int, shift: float) -> None:
    random = np.random.default_rng(k)
    real, fake = random.normal(size=(40, 3)), random.normal(size=(31, 3)) * 0.7 + shift
    found = precision_recall_density_coverage(torch.from_numpy(real), torch.from_numpy(fake), k)
    assert found == pytest.approx(by_loops(real, fake, k), abs=1e-12)


def test_equal_sets_are_perfect_and_far_ones_have_nothing_in_common() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 8)))
    same = precision_recall_density_coverage(x, x)
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)
    apart = precision_recall_density_coverage(x, x + 1000)
    assert set(apart.values()) == {0.0}


def test_a_generator_of_one_mode_of_two_is_precise_but_misses_half() -> None:
    random = np.random.default_rng(0)
    low, high = (torch.from_numpy(random.normal(size=(200, 4)) + m) for m in (-50, 50))
    one_mode = torch.from_numpy(random.normal(size=(400, 4)) + 50)
    found = precision_recall_density_coverage(torch.cat([low, high]), one_mode)
    assert found["precision"] > 0.9
    assert found["recall"] == pytest.approx(0.5, abs=0.05)
    assert found["coverage"] == pytest.approx(0.5, abs=0.05)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"metrics\.samples: 5 images"):
        precision_recall_density_coverage(torch.zeros(50, 2), torch.zeros(5, 2))


def test_the_nearest_is_found_and_a_copy_is_at_distance_nothing() -> None:
    random = np.random.default_rng(0)
    among = torch.from_numpy(random.normal(size=(1500, 64)).astype(np.float32)) + 5
    images = torch.cat([among[[7, 1400]], among[:300] + 0.1])
    distance, index = nearest(images, among)
    every = np.linalg.norm(images.numpy()[:, None] - among.numpy()[None], axis=2)
    assert index.tolist() == every.argmin(1).tolist()
    assert distance[:2].tolist() == [0, 0]
    np.testing.assert_allclose(distance.numpy(), every.min(1), rtol=1e-5)


def test_copies_are_told_from_new_images_of_the_same_kind() -> None:
    random = torch.Generator().manual_seed(0)

    def new(count: int) -> Tensor:
        return torch.randn(count, 16, generator=random)

    training, held_out, fresh = new(500), new(1000), new(1000)
    assert memorisation(fresh, training, held_out) < 0.02
    copies = training[:400] + 0.01 * new(400)
    assert memorisation(copies, training, held_out) == 1
    half = torch.cat([copies, fresh[:400]])
    assert memorisation(half, training, held_out) == pytest.approx(0.5, abs=0.02)
    assert memorisation(fresh + 10, training, held_out) == 0
