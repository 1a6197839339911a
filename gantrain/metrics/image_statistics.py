"""What images are made of at each scale: sliced Wasserstein distance, checkerboards."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from gantrain.common.rng import PositionalRNG, Stream

_PATCH = 7
_BELL = 0.85  # deviation of the window of structural similarity, in pixels
_COARSEST = 16  # pixels a side of the smallest scale
_PATCHES = 16  # of each image and scale
_DIRECTIONS = 128


def sliced_wasserstein(real: Tensor, fake: Tensor, seed: int = 0) -> float:
    """Distance of the 7x7 patches of as many images (N, C, S, S), mean over the scales.

    Karras et al. 2018: patches of each level of a Laplacian pyramid, normalised by channel, are
    projected onto random directions; along each, the distance of two sets is that of their sorted
    values (mean absolute difference). Patches lie alike in both sets. Times 1,000, as there.
    """
    count = min(len(real), len(fake))
    levels = []
    for level, (x, y) in enumerate(
        zip(_pyramid(real[:count]), _pyramid(fake[:count]), strict=True)
    ):
        a, b = (_normalised(_patches(z, seed, level)) for z in (x, y))
        rng = PositionalRNG(seed, level * _DIRECTIONS, _DIRECTIONS)
        directions = rng.normal(Stream.SLICES, a.shape[1])
        directions = (directions / directions.norm(dim=1, keepdim=True)).to(a)
        sorted_a, sorted_b = ((z @ directions.T).sort(dim=0).values for z in (a, b))
        levels.append((sorted_a - sorted_b).abs().mean())
    return 1000 * float(torch.stack(levels).double().mean())


def _pyramid(images: Tensor) -> list[Tensor]:
    levels, x = [], images.float()
    while x.shape[-1] > _COARSEST:
        smaller = avg_pool2d(x, 2)
        levels.append(x - interpolate(smaller, scale_factor=2, mode="bilinear"))
        x = smaller
    return [*levels, x]


def _patches(images: Tensor, seed: int, level: int) -> Tensor:
    """Patches (N * 16, C, 7, 7) at places that depend on the seed, level and position alone."""
    count, _, size, _ = images.shape
    rng = PositionalRNG(seed, level * 2**32, count)
    places = rng.uniform(Stream.PATCHES, 2 * _PATCHES).view(count, _PATCHES, 2)
    corner = (places * (size - _PATCH + 1)).long().to(images.device)
    reach = torch.arange(_PATCH, device=images.device)
    rows = (corner[..., 0, None] + reach)[..., :, None]
    columns = (corner[..., 1, None] + reach)[..., None, :]
    which = torch.arange(count, device=images.device)[:, None, None, None]
    return images.movedim(1, -1)[which, rows, columns].movedim(-1, 2).flatten(0, 1)


def _normalised(patches: Tensor) -> Tensor:
    mean = patches.mean((0, 2, 3), keepdim=True)
    deviation = patches.std((0, 2, 3), keepdim=True).clamp_min(1e-8)
    return ((patches - mean) / deviation).flatten(1)


def checkerboard(images: Tensor) -> float:
    """How much stronger the spectrum is at periods of 2 and 4 pixels than right beside them.

    Images (N, C, S, S), S a multiple of 8. Layers of stride 2 whose kernels overlap unevenly
    print such patterns (Odena et al. 2016). The geometric mean over those frequencies of their
    power by the mean power of the frequencies around them: about 1 without a pattern.
    """
    power = np.square(np.abs(np.fft.fft2(images.double().cpu().numpy()))).mean((0, 1))
    size = power.shape[0]
    stops = [0, size // 4, size // 2, 3 * size // 4]
    ratios = []
    for i in stops:
        for j in stops:
            if (i, j) != (0, 0):
                around = [
                    power[(i + a) % size, (j + b) % size]
                    for a in (-1, 0, 1)
                    for b in (-1, 0, 1)
                    # The row and column of frequency 0 hold the edges of flat images.
                    if (a, b) != (0, 0) and (a == 0 or i) and (b == 0 or j)
                ]
                ratios.append(power[i, j] / max(float(np.mean(around)), 1e-12))
    return float(np.exp(np.mean(np.log(np.maximum(ratios, 1e-12)))))


def ms_ssim(one: Tensor, other: Tensor) -> Tensor:
    """Multi-scale structural similarity of images (N, C, S, S) in [-1, 1], (N,) in [0, 1].

    Wang et al. 2003 with their weights, on as many halvings as leave a 7x7 window room (3 at 32
    pixels), the weights scaled to sum to 1; the window is a bell of deviation 0.85.
    """
    x, y = ((z.double() + 1) / 2 for z in (one, other))
    weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]
    weights = weights[: max(int(np.log2(x.shape[-1] / _PATCH)) + 1, 1)]
    result = torch.ones(len(x), dtype=x.dtype, device=x.device)
    for scale, weight in enumerate(weights):
        luminance, structure = _similarity(x, y)
        last = scale == len(weights) - 1
        factor = (luminance * structure if last else structure).mean((1, 2, 3))
        result *= factor.clamp_min(0) ** (weight / sum(weights))
        x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
    return result


def _similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure maps of SSIM for images in [0, 1]."""
    reach = torch.arange(_PATCH, dtype=x.dtype, device=x.device) - _PATCH // 2
    bell = torch.exp(-(reach**2) / (2 * _BELL**2))
    window = torch.outer(bell, bell)
    kernel = (window / window.sum()).expand(x.shape[1], 1, _PATCH, _PATCH)

    def blur(z: Tensor) -> Tensor:
        return conv2d(z, kernel, groups=x.shape[1])

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * covariance + c2) / (var_x + var_y + c2)


def pairwise_difference(images: Tensor) -> float:
    """Root mean squared difference of images (N, C, S, S) and their neighbours in the order."""
    x = images.double()
    pairs = len(x) // 2 * 2
    return float((x[0:pairs:2] - x[1:pairs:2]).square().mean().sqrt())


def shrunk(images: Tensor, size: int) -> Tensor:
    """Images (N, C, S, S) averaged down to at most `size` pixels a side, float32."""
    factor = images.shape[-1] // size
    return avg_pool2d(images.float(), factor) if factor > 1 else images.float()
