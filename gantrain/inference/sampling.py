"""Latent vectors, and the images that a generator makes from them."""

from collections.abc import Sequence
from itertools import repeat

import torch
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.grids import require_finite
from gantrain.common.rng import PositionalRNG, Stream
from gantrain.models.networks import Generator

_BATCH_SIZE = 256  # images per forward pass, which bounds the memory


def sample_latents(
    generator: Generator, count: int, seed: int, *, first: int = 0, truncation: float = 1.0
) -> Tensor:
    """Return standard normal latents, float32 (count, latent_size), on the CPU.

    Row i depends only on the seed and `first + i`.

    truncation: scale of the latents. Below 1, images become more typical and less diverse; the
    simplest form of the truncation trick (Brock et al. 2019, "BigGAN").
    """
    rng = PositionalRNG(seed, first, count)
    return rng.normal(Stream.SAMPLES, generator.latent_size) * truncation


def sample_classes(generator: Generator, count: int, seed: int, *, first: int = 0) -> Tensor | None:
    """Return random classes, int64 (count,), on the CPU; None without conditioning.

    They are as frequent as in training. Row i depends only on the seed and `first + i`.
    """
    return generator.conditioning.draw(PositionalRNG(seed, first, count), Stream.SAMPLE_CLASSES)


def select_latents(
    generator: Generator, numbers: Sequence[int], seed: int, *, truncation: float = 1.0
) -> Tensor:
    """Return the latents of numbered samples, float32 (len(numbers), latent_size).

    Sample i is image i of `sample_images` with the same seed. Raises UserError for a negative
    number.
    """
    negative = [number for number in numbers if number < 0]
    if negative:
        raise UserError(f"sample {negative[0]}: expected a number of at least 0.")
    latents = [
        sample_latents(generator, 1, seed, first=number, truncation=truncation)
        for number in numbers
    ]
    return torch.cat(latents) if latents else torch.zeros(0, generator.latent_size)


@torch.no_grad()
def generate_images(generator: Generator, latents: Tensor, classes: Tensor | None = None) -> Tensor:
    """Return the images of latents (N, latent_size): float32 (N, C, S, S) in [-1, 1], on the CPU.

    classes: for a generator with conditioning, an index or weights for each image; see
        `gantrain.models.conditioning`.

    Runs on the generator's device, in batches. Raises UserError if any pixel is NaN or infinite.
    """
    device = next(generator.parameters()).device
    batches = zip(
        torch.split(latents, _BATCH_SIZE),
        repeat(None) if classes is None else torch.split(classes, _BATCH_SIZE),
        strict=False,
    )
    images = torch.cat([generator(z.to(device), y).float().cpu() for z, y in batches])
    require_finite(images)
    return images


def sample_images(
    generator: Generator, count: int, seed: int, *, truncation: float = 1.0
) -> Tensor:
    """Return images of standard normal latents, float32 (count, C, S, S) in [-1, 1].

    With conditioning, classes are drawn as often as they occurred in training.
    Image i depends only on the seed and i, so that a larger count merely appends images.

    truncation: see `sample_latents`.
    """
    images = []
    for first in range(0, count, _BATCH_SIZE):
        size = min(_BATCH_SIZE, count - first)
        latents = sample_latents(generator, size, seed, first=first, truncation=truncation)
        classes = sample_classes(generator, size, seed, first=first)
        images.append(generate_images(generator, latents, classes))
    return torch.cat(images)
