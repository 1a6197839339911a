"""Latent vectors and the images that a generator makes of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.rng import PositionalRNG, Stream
from gantrain.models.networks import Generator

_AT_ONCE = 256  # images in one forward pass, which bounds the memory


def sample_latents(
    generator: Generator, count: int, seed: int, *, first: int = 0, truncation: float = 1.0
) -> Tensor:
    """Standard normal latents, float32 (count, latent_size), on the CPU.

    The i-th depends on the seed and `first + i` alone. truncation: factor on all of them; below 1
    the images are more usual and less various (BigGAN, Brock et al. 2019, in its simplest form).
    """
    rng = PositionalRNG(seed, first, count)
    return rng.normal(Stream.SAMPLES, generator.latent_size) * truncation


def chosen_latents(
    generator: Generator, numbers: Sequence[int], seed: int, *, truncation: float = 1.0
) -> Tensor:
    """Latents (len(numbers), latent_size) of the samples with these numbers, counted from 0.

    They are those that `sample_images` gives at these places. Raises UserError for a negative
    number.
    """
    wrong = [number for number in numbers if number < 0]
    if wrong:
        raise UserError(f"sample {wrong[0]}: expected numbers from 0 on, as `gantrain sample` has.")
    found = [
        sample_latents(generator, 1, seed, first=number, truncation=truncation)
        for number in numbers
    ]
    return torch.cat(found) if found else torch.zeros(0, generator.latent_size)


@torch.no_grad()
def generate_images(generator: Generator, latents: Tensor) -> Tensor:
    """Latents (N, latent_size) to images float32 (N, C, S, S) in [-1, 1], on the CPU."""
    device = next(generator.parameters()).device
    parts = torch.split(latents, _AT_ONCE)
    return torch.cat([generator(part.to(device)).float().cpu() for part in parts])


def sample_images(
    generator: Generator, count: int, seed: int, *, truncation: float = 1.0
) -> Tensor:
    """Images float32 (count, C, S, S) in [-1, 1], of standard normal latents.

    The i-th image depends on the seed and i alone, so that a larger count only adds more.
    truncation: see `sample_latents`.
    """
    images = []
    for first in range(0, count, _AT_ONCE):
        wanted = min(_AT_ONCE, count - first)
        latents = sample_latents(generator, wanted, seed, first=first, truncation=truncation)
        images.append(generate_images(generator, latents))
    return torch.cat(images)
