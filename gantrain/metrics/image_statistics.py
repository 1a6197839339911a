"""Metrics of pixels: sliced Wasserstein distance, checkerboard patterns, MS-SSIM, diversity."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d, interpolate

from gantrain.common.rng import PositionalRNG, Stream

_PATCH_SIZE = 7  # pixels a side
_MIN_LEVEL_SIZE = 16  # pixels a side of the smallest level of the pyramid
_PATCHES = 16  # per image and level
_DIRECTIONS = 128
_SSIM_WINDOW = 7  # pixels a side
_SSIM_DEVIATION = 0.85  # of the Gaussian window, in pixels
_MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, finest first


def sliced_wasserstein(
    real: Tensor, fake: Tensor, seed: int = 0, directions: int = _DIRECTIONS
) -> float:
    """Return the sliced Wasserstein distance (SWD) of 7x7 patches, times 1,000.

    real, fake: images (N, C, S, S) and (M, C, S, S); the first min(N, M) of each count.
    seed: of the patch locations, which are the same in both sets, and of the directions.
    directions: number of directions to project onto.

    Karras et al. 2018, section 5: the patches of each level of a Laplacian pyramid are normalised
    per channel and projected onto random directions. The distance along a direction is the mean
    absolute difference of the sorted values. The result is the mean over directions and levels.
    """
    count = min(len(real), len(fake))
    levels = []
    for level, (x, y) in enumerate(
        zip(_laplacian_pyramid(real[:count]), _laplacian_pyramid(fake[:count]), strict=True)
    ):
        a, b = (_normalise(_random_patches(z, seed, level)) for z in (x, y))
        rng = PositionalRNG(seed, level * _DIRECTIONS, directions)
        slices = rng.normal(Stream.SLICES, a.shape[1])
        slices = (slices / slices.norm(dim=1, keepdim=True)).to(a)
        sorted_a, sorted_b = ((z @ slices.T).sort(dim=0).values for z in (a, b))
        levels.append((sorted_a - sorted_b).abs().mean())
    return 1000 * float(torch.stack(levels).double().mean())


def _laplacian_pyramid(images: Tensor) -> list[Tensor]:
    levels, x = [], images.float()
    while x.shape[-1] > _MIN_LEVEL_SIZE and x.shape[-1] % 2 == 0:
        smaller = avg_pool2d(x, 2)
        levels.append(x - interpolate(smaller, scale_factor=2, mode="bilinear"))
        x = smaller
    return [*levels, x]


def _random_patches(images: Tensor, seed: int, level: int) -> Tensor:
    """Return patches (N * 16, C, 7, 7) of N images, at locations set by the seed and the level."""
    count, _, size, _ = images.shape
    rng = PositionalRNG(seed, level * 2**32, count)
    numbers = rng.uniform(Stream.PATCHES, 2 * _PATCHES).view(count, _PATCHES, 2)
    corner = (numbers * (size - _PATCH_SIZE + 1)).long().to(images.device)
    offsets = torch.arange(_PATCH_SIZE, device=images.device)
    rows = (corner[..., 0, None] + offsets)[..., :, None]
    columns = (corner[..., 1, None] + offsets)[..., None, :]
    index = torch.arange(count, device=images.device)[:, None, None, None]
    return images.movedim(1, -1)[index, rows, columns].movedim(-1, 2).flatten(0, 1)


def _normalise(patches: Tensor) -> Tensor:
    """Return patches (N, C, 7, 7) with mean 0 and deviation 1 in each channel, flat (N, C * 49)."""
    mean = patches.mean((0, 2, 3), keepdim=True)
    deviation = patches.std((0, 2, 3), keepdim=True).clamp_min(1e-8)
    return ((patches - mean) / deviation).flatten(1)


def checkerboard_score(images: Tensor) -> float:
    """Return how far the spectrum peaks at periods of 2 and 4 pixels; about 1 without a pattern.

    images: (N, C, S, S), S a multiple of 8.

    Layers of stride 2 whose kernels overlap unevenly produce such patterns (Odena et al. 2016). The
    score is the ratio of the power at these frequencies to the mean power at the frequencies next
    to them, as the geometric mean over the frequencies.
    """
    power = np.square(np.abs(np.fft.fft2(images.double().cpu().numpy()))).mean((0, 1))
    size = power.shape[0]
    frequencies = [0, size // 4, size // 2, 3 * size // 4]
    ratios = []
    for i in frequencies:
        for j in frequencies:
            if (i, j) != (0, 0):
                neighbours = [
                    power[(i + a) % size, (j + b) % size]
                    for a in (-1, 0, 1)
                    for b in (-1, 0, 1)
                    # Leave out the row and column of frequency 0, which contain the edges of images
                    # with flat areas.
                    if (a, b) != (0, 0) and (a == 0 or i) and (b == 0 or j)
                ]
                ratios.append(power[i, j] / max(float(np.mean(neighbours)), 1e-12))
    return float(np.exp(np.mean(np.log(np.maximum(ratios, 1e-12)))))


def ms_ssim(one: Tensor, other: Tensor) -> Tensor:
    """Return the multi-scale structural similarity (MS-SSIM) of image pairs, (N,) in [0, 1].

    one, other: images (N, C, S, S) in [-1, 1].

    Wang et al. 2003 with their weights, on as many scales as a 7x7 window fits into (3 at 32
    pixels), the weights scaled to sum to 1. The window is Gaussian with deviation 0.85.
    """
    x, y = ((z.double() + 1) / 2 for z in (one, other))
    scales = max(int(np.log2(x.shape[-1] / _SSIM_WINDOW)) + 1, 1)
    weights = _MS_SSIM_WEIGHTS[:scales]
    result = torch.ones(len(x), dtype=x.dtype, device=x.device)
    for scale, weight in enumerate(weights):
        luminance, structure = _ssim_maps(x, y)
        is_last = scale == len(weights) - 1
        factor = (luminance * structure if is_last else structure).mean((1, 2, 3))
        result *= factor.clamp_min(0) ** (weight / sum(weights))
        x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
    return result


def _ssim_maps(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the luminance and contrast-structure maps of SSIM for images in [0, 1]."""
    offsets = torch.arange(_SSIM_WINDOW, dtype=x.dtype, device=x.device) - _SSIM_WINDOW // 2
    gaussian = torch.exp(-(offsets**2) / (2 * _SSIM_DEVIATION**2))
    window = torch.outer(gaussian, gaussian)
    kernel = (window / window.sum()).expand(x.shape[1], 1, _SSIM_WINDOW, _SSIM_WINDOW)

    def blur(z: Tensor) -> Tensor:
        return conv2d(z, kernel, groups=x.shape[1])

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * covariance + c2) / (var_x + var_y + c2)


def pair_differences(images: Tensor) -> Tensor:
    """Return the mean squared differences of consecutive images, in disjoint pairs, float64."""
    x = images.double()
    pairs = len(x) // 2 * 2
    return (x[0:pairs:2] - x[1:pairs:2]).square().flatten(1).mean(1)


def downsample(images: Tensor, size: int) -> Tensor:
    """Return images (N, C, S, S) as float32, averaged down to at most `size` pixels a side."""
    images = images.float()
    if images.shape[-1] <= size:
        return images
    if images.shape[-1] % size:
        return adaptive_avg_pool2d(images, size)  # over windows that overlap
    return avg_pool2d(images, images.shape[-1] // size)
