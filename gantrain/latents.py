"""Latent vectors and the pictures that a generator makes of them."""

import torch
from torch import Tensor

from gantrain.draws import Positions, Purpose, draw_normal
from gantrain.networks import Generator

_AT_ONCE = 256  # pictures in one forward pass, which bounds the memory


@torch.no_grad()
def sample_pictures(generator: Generator, count: int, seed: int) -> Tensor:
    """Pictures float32 (count, C, S, S) in [-1, 1], of standard normal latents.

    The i-th picture depends on the seed and i alone, so that a larger count only adds more.
    """
    device = next(generator.parameters()).device
    pictures = []
    for start in range(0, count, _AT_ONCE):
        at = Positions(seed, start, min(_AT_ONCE, count - start))
        latents = draw_normal(at, Purpose.SAMPLES, generator.latent_size)
        pictures.append(generator(latents.to(device)).cpu())
    return torch.cat(pictures)
