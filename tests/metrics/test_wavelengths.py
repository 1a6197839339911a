"""Parts, patches, similarity and checkerboards on images whose answers are known."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from gantrain.metrics.coverage import part_coverage
from gantrain.metrics.image_statistics import (
    checkerboard,
    ms_ssim,
    pairwise_difference,
    shrunk,
    sliced_wasserstein,
)


def clouds(count: int, size: int = 32, channels: int = 1, seed: int = 0) -> Tensor:
    """Smooth random images in [-1, 1], without any pattern of a fixed period."""
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, channels, size, size, generator=random)
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1, 1, count_include_pad=False)
    return (smooth / 2).clamp(-1, 1)


def logits_of(parts: list[int], total: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(parts), total).float()


def test_parts_count_from_a_tenth_of_their_share_on() -> None:
    shares = torch.full((4,), 0.25)
    made = [0] * 500 + [1] * 450 + [2] * 26 + [3] * 24
    found = part_coverage(logits_of(made, 4), shares)
    assert (found.made, found.total) == (3, 4)
    expected = sum(n / 1000 * math.log(n / 250) for n in (500, 450, 26, 24))
    assert found.divergence == pytest.approx(expected)


def test_one_part_alone_diverges_by_the_logarithm_of_their_number() -> None:
    found = part_coverage(logits_of([3] * 100, 10), torch.full((10,), 0.1))
    assert found.made == 1
    assert found.divergence == pytest.approx(math.log(10))
    all_alike = part_coverage(logits_of(list(range(10)) * 10, 10), torch.full((10,), 0.1))
    assert all_alike.made == 10
    assert all_alike.divergence == pytest.approx(0, abs=1e-12)


def test_parts_that_the_training_does_not_show_are_not_counted() -> None:
    shares = torch.tensor([0.5, 0.0, 0.5])
    logits = torch.tensor([[1.0, 9.0, 0.0], [0.0, 9.0, 1.0]])
    found = part_coverage(logits, shares)
    assert (found.made, found.total) == (2, 2)
    assert found.divergence == pytest.approx(0)


def test_the_sliced_distance_is_small_for_alike_sets_and_grows_with_blur_and_noise() -> None:
    x, y = clouds(300), clouds(300, seed=1)
    assert sliced_wasserstein(x, x) == 0
    alike = sliced_wasserstein(x, y)
    blurred = torch.nn.functional.avg_pool2d(y, 3, 1, 1)
    noisy = y + 0.3 * torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    collapsed = y[:1].expand(300, -1, -1, -1)
    for worse in (blurred, noisy, collapsed):
        assert sliced_wasserstein(x, worse) > 1.8 * alike
    assert sliced_wasserstein(clouds(20, channels=3), clouds(20, channels=3, seed=1)) > 0


def test_a_checkerboard_is_seen_and_smooth_images_have_none() -> None:
    smooth = clouds(200)
    assert checkerboard(smooth) == pytest.approx(1, abs=0.25)
    every = torch.zeros(32, 32)
    every[::2, ::2] = 0.1
    assert checkerboard(smooth + every) > 1.8 * checkerboard(smooth)
    coarse = torch.zeros(32, 32)
    coarse[::4] = 0.1
    assert checkerboard(smooth + coarse) > 1.3 * checkerboard(smooth)


def ssim_by_scipy(x: np.ndarray, y: np.ndarray, scales: int) -> float:
    """Wang et al. 2003 on one channel in [0, 1], with scipy's convolution."""
    bell = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 0.85**2))
    window = np.outer(bell, bell) / bell.sum() ** 2
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    result = 1.0
    for scale, weight in enumerate(weights / weights.sum()):
        mean_x, mean_y, xx, yy, xy = (
            scipy.signal.convolve2d(z, window, "valid") for z in (x, y, x * x, y * y, x * y)
        )
        structure = (2 * (xy - mean_x * mean_y) + 9e-4) / (xx - mean_x**2 + yy - mean_y**2 + 9e-4)
        if scale == scales - 1:
            structure *= (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
        result *= max(structure.mean(), 0) ** weight
        x, y = (z.reshape(len(z) // 2, 2, len(z) // 2, 2).mean((1, 3)) for z in (x, y))
    return result


@pytest.mark.parametrize(("size", "scales"), [(32, 3), (64, 4)])
def test_structural_similarity_agrees_with_scipy(size: int, scales: int) -> None:
    x, y = clouds(4, size), 0.6 * clouds(4, size) + 0.4 * clouds(4, size, seed=1)
    expected = [
        ssim_by_scipy((a[0].double().numpy() + 1) / 2, (b[0].double().numpy() + 1) / 2, scales)
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(ms_ssim(x, y).numpy(), expected, rtol=1e-9)


def test_a_image_is_like_itself_and_unlike_its_negative() -> None:
    x = clouds(5, 64)
    np.testing.assert_allclose(ms_ssim(x, x).numpy(), 1)
    assert (ms_ssim(x, -x) < 0.05).all()


def test_pairs_and_thumbnails_are_plain_means() -> None:
    x = torch.zeros(3, 1, 32, 32)
    x[1] = 0.5
    x[2] = 9
    assert pairwise_difference(x) == pytest.approx(0.5)
    assert shrunk(clouds(2), 16).shape == (2, 1, 16, 16)
    assert shrunk(clouds(2, 64), 16)[0, 0, 0, 0] == pytest.approx(
        float(clouds(2, 64)[0, 0, :4, :4].mean())
    )
