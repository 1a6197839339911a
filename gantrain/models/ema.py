"""The exponential moving average of the generator's weights, whose images are better."""

import torch
from torch import Tensor

from gantrain.config import EmaConfig
from gantrain.models.networks import Generator


class Ema:
    """Exponential moving average with a half-life in images (Karras et al. 2018, 2022).

    `generator` holds the average, in evaluation mode and without gradients; BatchNorm's running
    statistics are averaged like weights.
    """

    def __init__(self, generator: Generator, config: EmaConfig) -> None:
        self.generator = generator.eval().requires_grad_(False)
        self.config = config

    def decay(self, images: int, images_seen: int) -> float:
        """Return the weight in [0, 1] that the average so far keeps after `images` more images.

        images_seen: of the whole run, for the ramp-up of the half-life.
        """
        half_life = self.config.half_life_kimg * 1000
        if self.config.rampup is not None:
            half_life = min(half_life, images_seen * self.config.rampup)
        return float(0.5 ** (images / half_life)) if half_life else 0.0

    @torch.no_grad()
    def update(self, current: Generator, images: int, images_seen: int) -> None:
        """Move the average towards the current weights, `images` after the last update."""
        average, weights = _floats(self.generator), _floats(current)
        torch._foreach_lerp_(average, weights, 1.0 - self.decay(images, images_seen))


def _floats(generator: Generator) -> list[Tensor]:
    buffers = [b for b in generator.buffers() if b.is_floating_point()]
    return [*generator.parameters(), *buffers]
