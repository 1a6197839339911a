"""Metrics of pixels on images with known results."""

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from gantrain.metrics.image_statistics import (
    checkerboard_score,
    downsample,
    ms_ssim,
    pair_differences,
    sliced_wasserstein,
)


def clouds(count: int, size: int = 32, channels: int = 1, seed: int = 0) -> Tensor:
    """Smooth random images in [-1, 1], without any pattern of a fixed period."""
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, channels, size, size, generator=random)
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1, 1, count_include_pad=False)
    return (smooth / 2).clamp(-1, 1)


def test_the_sliced_wasserstein_distance_is_small_for_similar_sets_and_grows_with_damage() -> None:
    x, y = clouds(300), clouds(300, seed=1)
    assert sliced_wasserstein(x, x) == 0
    similar = sliced_wasserstein(x, y)
    blurred = torch.nn.functional.avg_pool2d(y, 3, 1, 1)
    noisy = y + 0.3 * torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    collapsed = y[:1].expand(300, -1, -1, -1)
    for worse in (blurred, noisy, collapsed):
        assert sliced_wasserstein(x, worse) > 1.8 * similar
    assert sliced_wasserstein(clouds(20, channels=3), clouds(20, channels=3, seed=1)) > 0


def test_a_checkerboard_raises_the_score() -> None:
    smooth = clouds(200)
    assert checkerboard_score(smooth) == pytest.approx(1, abs=0.25)
    grid = torch.zeros(32, 32)
    grid[::2, ::2] = 0.1
    assert checkerboard_score(smooth + grid) > 1.8 * checkerboard_score(smooth)
    coarse = torch.zeros(32, 32)
    coarse[::4] = 0.1
    assert checkerboard_score(smooth + coarse) > 1.3 * checkerboard_score(smooth)


def ssim_by_scipy(x: np.ndarray, y: np.ndarray, scales: int) -> float:
    """Wang et al. 2003 on one channel in [0, 1], with scipy's convolution."""
    gaussian = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 0.85**2))
    window = np.outer(gaussian, gaussian) / gaussian.sum() ** 2
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
def test_ms_ssim_agrees_with_scipy(size: int, scales: int) -> None:
    x, y = clouds(4, size), 0.6 * clouds(4, size) + 0.4 * clouds(4, size, seed=1)
    expected = [
        ssim_by_scipy((a[0].double().numpy() + 1) / 2, (b[0].double().numpy() + 1) / 2, scales)
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(ms_ssim(x, y).numpy(), expected, rtol=1e-9)


def test_an_image_is_similar_to_itself_but_not_to_its_negative() -> None:
    x = clouds(5, 64)
    np.testing.assert_allclose(ms_ssim(x, x).numpy(), 1)
    assert (ms_ssim(x, -x) < 0.05).all()


def test_pair_differences_and_downsampling_are_plain_means() -> None:
    x = torch.zeros(5, 1, 32, 32)
    x[1] = 0.5
    x[2:] = 9
    assert pair_differences(x).tolist() == pytest.approx([0.25, 0])
    assert downsample(clouds(2), 16).shape == (2, 1, 16, 16)
    assert downsample(clouds(2, 64), 16)[0, 0, 0, 0] == pytest.approx(
        float(clouds(2, 64)[0, 0, :4, :4].mean())
    )
