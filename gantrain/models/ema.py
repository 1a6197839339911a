"""The running mean of the generator's weights, which makes better images than the newest ones."""

import torch
from torch import Tensor

from gantrain.config import EmaConfig
from gantrain.models.networks import Generator


class Ema:
    """Exponential moving average with a half-life in images (Karras et al. 2018, 2022).

    `generator` is in evaluation mode; BatchNorm's running statistics are averaged like weights.
    """

    def __init__(self, generator: Generator, config: EmaConfig) -> None:
        self.generator = generator.eval().requires_grad_(False)
        self.config = config

    def decay(self, images: int, images_seen: int) -> float:
        """Weight that the mean so far keeps when `images` more have been seen."""
        half_life = self.config.half_life_kimg * 1000
        if self.config.rampup is not None:
            half_life = min(half_life, images_seen * self.config.rampup)
        return float(0.5 ** (images / half_life)) if half_life else 0.0

    @torch.no_grad()
    def update(self, newest: Generator, images: int, images_seen: int) -> None:
        """Move towards the newest weights, `images` after the last time."""
        mean, new = _floats(self.generator), _floats(newest)
        torch._foreach_lerp_(mean, new, 1.0 - self.decay(images, images_seen))


def _floats(generator: Generator) -> list[Tensor]:
    buffers = [b for b in generator.buffers() if b.is_floating_point()]
    return [*generator.parameters(), *buffers]
