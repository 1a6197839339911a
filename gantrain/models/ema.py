"""The exponential moving average of the generator's weights, whose images are better."""

import torch
from torch import Tensor

from gantrain.config import EmaConfig
from gantrain.config.schedules import value_at
from gantrain.models.networks import Generator


class Ema:
    """Exponential moving average with a half-life in images (Karras et al. 2018, 2022).

    `generator` holds the average, in evaluation mode and without gradients; BatchNorm's running
    statistics are averaged like weights.
    """

    def __init__(self, generator: Generator, config: EmaConfig, total_images: int) -> None:
        """Average `generator`; total_images: of the whole run, for a schedule of the half-life."""
        self.generator = generator.eval().requires_grad_(False)
        self._average = _floats(self.generator)
        self._of: Generator | None = None
        self._weights: list[Tensor] = []
        self.config = config
        self._total_images = total_images

    def decay(self, images: int, images_seen: int) -> float:
        """Return the weight in [0, 1] that the average so far keeps after `images` more images.

        images_seen: of the whole run, for the schedule and the ramp-up of the half-life.
        """
        config = self.config
        half_life = value_at(config.half_life_kimg, images_seen, self._total_images) * 1000
        if config.rampup is not None:
            half_life = min(half_life, images_seen * config.rampup)
        return float(0.5 ** (images / half_life)) if half_life else 0.0

    @torch.no_grad()
    def update(self, current: Generator, images: int, images_seen: int) -> None:
        """Move the average towards the current weights, `images` after the last update."""
        if self._of is not current:  # finding its weights takes longer than moving towards them
            self._of, self._weights = current, _floats(current)
        torch._foreach_lerp_(self._average, self._weights, 1.0 - self.decay(images, images_seen))


def _floats(generator: Generator) -> list[Tensor]:
    buffers = [b for b in generator.buffers() if b.is_floating_point()]
    return [*generator.parameters(), *buffers]
