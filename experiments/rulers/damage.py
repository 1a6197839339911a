"""Graded damage to sets of real images, whose effect on a metric is known in advance."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

# Which way a metric must go: worse at each level, or no worse than on undamaged images.
WORSE, KEPT = "worse", "kept"


@dataclass(frozen=True)
class Damage:
    """A kind of damage in levels of rising severity.

    apply: returns the damaged images, uint8 (N, C, S, S), for undamaged ones, their classes int64
        (N,) and a level.
    expected: of metrics whose way is known, by name.
    """

    name: str
    levels: tuple[float, ...]
    apply: Callable[[Tensor, Tensor, float], Tensor]
    expected: dict[str, str]


def blur(images: Tensor, classes: Tensor, deviation: float) -> Tensor:
    """Return images blurred by a Gaussian with a standard deviation in pixels."""
    reach = min(int(np.ceil(3 * deviation)), images.shape[-1] - 1)
    offsets = torch.arange(-reach, reach + 1).float()
    kernel = torch.exp(-(offsets**2) / (2 * deviation**2))
    kernel = kernel / kernel.sum()
    x = images.float().flatten(0, 1)[:, None]
    x = conv2d(pad(x, (reach,) * 4, mode="replicate"), kernel[None, None, None])
    x = conv2d(x, kernel[None, None, :, None])
    return _to_uint8(x.reshape(images.shape))


def noise(images: Tensor, classes: Tensor, deviation: float) -> Tensor:
    """Return images with Gaussian noise; its standard deviation in grey levels."""
    rng = torch.Generator().manual_seed(0)
    return _to_uint8(images + deviation * torch.randn(images.shape, generator=rng))


def contrast(images: Tensor, classes: Tensor, loss: float) -> Tensor:
    """Return images whose grey levels are this fraction closer to the mean of the set."""
    mean = images.float().mean()
    return _to_uint8(mean + (images - mean) * (1 - loss))


def shuffle_quarters(images: Tensor, classes: Tensor, fraction: float) -> Tensor:
    """Return images of which this fraction have their quarters rotated by one place."""
    half = images.shape[-1] // 2
    a, b = images[..., :half, :half], images[..., :half, half:]
    c, d = images[..., half:, :half], images[..., half:, half:]
    shuffled = torch.cat([torch.cat([c, a], 3), torch.cat([d, b], 3)], 2)
    # Evenly among the others, since parts of the set are used for different ends.
    counted = (torch.arange(len(images) + 1) * fraction).floor()
    return torch.where((counted.diff() > 0)[:, None, None, None], shuffled, images)


def drop_classes(images: Tensor, classes: Tensor, fraction: float) -> Tensor:
    """Return as many images, of the first classes only, without this fraction of the classes."""
    kept = (classes < (1 - fraction) * (int(classes.max()) + 1)).nonzero().flatten()
    return images[kept[torch.arange(len(images)) % len(kept)]]


def duplicate(images: Tensor, classes: Tensor, fraction: float) -> Tensor:
    """Return as many images, this fraction of which are copies of the others."""
    distinct = max(round((1 - fraction) * len(images)), 1)
    return images[torch.arange(len(images)) % distinct]


def brighten(images: Tensor, classes: Tensor, levels: float) -> Tensor:
    """Return images that are brighter by some grey levels."""
    return _to_uint8(images + levels)


def shift(images: Tensor, classes: Tensor, pixels: float) -> Tensor:
    """Return images moved right and down by some pixels; the border repeats."""
    n = int(pixels)
    moved = pad(images.float(), (n, 0, n, 0), mode="replicate")
    return _to_uint8(moved[..., : images.shape[-1], : images.shape[-1]])


def _to_uint8(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)
