"""Metrics of nearest neighbours compared with loops and known results."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.metrics.by_pixels import nearest_metrics
from gantrain.metrics.neighbours import (
    copied_fraction,
    expected_coverage,
    is_repeated,
    nearest_ratio,
    nearest_rows,
    precision_recall_density_coverage,
)
from gantrain.metrics.reference import to_thumbnails


def by_definition(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    """Compute the metrics of Kynkäänniemi et al. 2019 and Naeem et al. 2020 pair by pair."""

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
def test_the_metrics_match_their_definitions(k: int, shift: float) -> None:
    random = np.random.default_rng(k)
    real, fake = random.normal(size=(40, 3)), random.normal(size=(31, 3)) * 0.7 + shift
    metrics = precision_recall_density_coverage(torch.from_numpy(real), torch.from_numpy(fake), k)
    assert metrics == pytest.approx(by_definition(real, fake, k), abs=1e-12)


def test_equal_sets_score_one_and_distant_sets_score_zero() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 8)))
    equal = precision_recall_density_coverage(x, x)
    assert (equal["precision"], equal["recall"], equal["coverage"]) == (1, 1, 1)
    distant = precision_recall_density_coverage(x, x + 1000)
    assert set(distant.values()) == {0.0}


def test_one_mode_of_two_is_precise_but_recalls_half() -> None:
    random = np.random.default_rng(0)
    low, high = (torch.from_numpy(random.normal(size=(200, 4)) + m) for m in (-50, 50))
    one_mode = torch.from_numpy(random.normal(size=(400, 4)) + 50)
    metrics = precision_recall_density_coverage(torch.cat([low, high]), one_mode)
    assert metrics["precision"] > 0.9
    assert metrics["recall"] == pytest.approx(0.5, abs=0.05)
    assert metrics["coverage"] == pytest.approx(0.5, abs=0.05)


def test_too_few_images_are_an_error() -> None:
    with pytest.raises(UserError, match=r"metrics\.samples: 5 images"):
        precision_recall_density_coverage(torch.zeros(50, 2), torch.zeros(5, 2))


def test_nearest_rows_match_brute_force_and_copies_have_distance_zero() -> None:
    random = np.random.default_rng(0)
    rows = torch.from_numpy(random.normal(size=(1500, 64)).astype(np.float32)) + 5
    images = torch.cat([rows[[7, 1400]], rows[:300] + 0.1])
    distance, index = nearest_rows(images, rows)
    brute_force = np.linalg.norm(images.numpy()[:, None] - rows.numpy()[None], axis=2)
    assert index.tolist() == brute_force.argmin(1).tolist()
    assert distance[:2].tolist() == [0, 0]
    np.testing.assert_allclose(distance.numpy(), brute_force.min(1), rtol=1e-5)


def test_memorisation_separates_copies_from_new_images() -> None:
    random = torch.Generator().manual_seed(0)

    def sample(count: int) -> Tensor:
        return torch.randn(count, 16, generator=random)

    training, held_out, fresh = sample(500), sample(1000), sample(1000)

    def copied(images: Tensor) -> float:
        distances = (nearest_rows(rows, training)[0] for rows in (images, held_out))
        return copied_fraction(images, held_out, *distances)

    assert copied(fresh) < 0.02
    copies = training[:400] + 0.01 * sample(400)
    assert copied(copies) == 1
    assert copied(torch.cat([copies, fresh[:400]])) == pytest.approx(0.5, abs=0.02)
    assert copied(fresh + 10) == 0


def test_new_images_of_a_class_that_hardly_varies_are_no_copies() -> None:
    random = torch.Generator().manual_seed(0)

    def sample(count: int) -> Tensor:
        """Return half as many images of either class; those of one vary a tenth as much."""
        images = torch.randn(count, 16, generator=random)
        images[::2] = 0.1 * images[::2] + 10
        return images

    training, held_out, fresh = sample(500), sample(200), sample(1000)
    copies = training + 0.01 * sample(500).clamp(-1, 1)

    def copied(images: Tensor) -> float:
        distances = (nearest_rows(rows, training)[0] for rows in (images, held_out))
        return copied_fraction(images, held_out, *distances)

    assert copied(fresh) < 0.05  # one median of all held-out images would call half of them copies
    assert copied(copies) > 0.95


def test_the_nearest_ratio_of_images_is_that_of_a_search_pixel_by_pixel() -> None:
    random = np.random.default_rng(0)
    training, held_out, fake = (
        random.integers(0, 256, (count, 1, 32, 32), dtype=np.uint8) for count in (30, 9, 13)
    )

    def mean_distance(images: np.ndarray) -> float:
        found = []
        for image in images:
            squares = []
            for other in training:
                total = 0.0
                for row, column in itertools.product(range(16), repeat=2):
                    block = np.s_[0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                    total += ((image[block].mean() - other[block].mean()) / 127.5) ** 2
                squares.append(total)
            found.append(math.sqrt(min(squares)))
        return math.fsum(found) / len(found)

    thumbnails = [to_thumbnails(torch.from_numpy(x)) for x in (training, held_out)]
    ratio, (low, high) = nearest_metrics(torch.from_numpy(fake), *thumbnails)["nearest_ratio"]
    assert ratio == pytest.approx(mean_distance(fake) / mean_distance(held_out), rel=1e-6)
    assert low < ratio < high


def test_the_nearest_ratio_is_one_for_real_images_and_grows_with_their_distance() -> None:
    random = torch.Generator().manual_seed(0)
    held_out, fake = torch.rand(200, generator=random), torch.rand(300, generator=random)
    assert nearest_ratio(held_out, held_out) == 1
    assert nearest_ratio(torch.zeros(5), held_out) == 0
    assert nearest_ratio(3 * fake, held_out) == pytest.approx(3 * nearest_ratio(fake, held_out))
    # Held-out images that equal training images give no distance to compare with.
    assert not math.isfinite(nearest_ratio(fake, torch.zeros(5)))


@pytest.mark.parametrize(("real", "fake", "k"), [(100, 100, 5), (60, 30, 3), (60, 90, 1)])
def test_the_expected_coverage_is_that_of_two_samples_of_any_distribution(
    real: int, fake: int, k: int
) -> None:
    random = np.random.default_rng(0)
    shapes = (random.normal, random.standard_cauchy, random.exponential)
    for draw in shapes:
        coverages = []
        for _ in range(60):
            x, y = (torch.from_numpy(draw(size=(n, 3))) for n in (real, fake))
            coverages.append(precision_recall_density_coverage(x, y, k)["coverage"])
        error = float(np.std(coverages)) / math.sqrt(len(coverages))
        assert np.mean(coverages) == pytest.approx(expected_coverage(real, fake, k), abs=4 * error)
    assert expected_coverage(10**6, 10**6, k) == pytest.approx(1 - 2**-k, abs=1e-4)


def test_images_repeat_what_is_close_for_real_images() -> None:
    random = np.random.default_rng(0)
    real = torch.from_numpy(random.normal(size=(200, 8)))
    few = real[:20].repeat(5, 1)
    assert is_repeated(few, real).tolist() == [False] * 20 + [True] * 80
    nearly = few + 0.01 * torch.from_numpy(random.normal(size=few.shape))
    assert is_repeated(nearly, real).tolist() == [False] * 20 + [True] * 80
    assert is_repeated(real, real).double().mean() < 0.1
    # Without real images to compare with, equal images count.
    assert is_repeated(few[15:25].float(), few[:1].float()).sum() == 0
    assert is_repeated(few[:25].float(), few[:1].float()).sum() == 5
