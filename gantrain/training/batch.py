"""Batches: real images together with the random numbers that belong to them."""

import itertools
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gantrain.common.rng import PositionalRNG
from gantrain.config import Config
from gantrain.config.schedules import Schedule, value_at
from gantrain.data.loading.datasets import ImageDataset, Images
from gantrain.models.augment import random_flip_shift


@dataclass(frozen=True)
class Moment:
    """Where in a run a step is.

    images_seen: real images that D saw before it. total_images: those of the whole run.
    d_step: number of the D step.
    """

    images_seen: int = 0
    total_images: int = 1
    d_step: int = 0

    def value_of(self, setting: float | Schedule[Any]) -> float | Tensor:
        """Return the value that a setting has now; a tensor where it must not be read."""
        return value_at(setting, self.images_seen, self.total_images)


@dataclass(frozen=True)
class DeviceMoment(Moment):
    """A moment whose scheduled values lie on the device, where a CUDA graph reads them.

    scheduled: the float32 scalar of each schedule that was asked for.
    """

    scheduled: dict[Schedule[Any], Tensor] = field(default_factory=dict)
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - it does not change

    def value_of(self, setting: float | Schedule[Any]) -> float | Tensor:
        if not isinstance(setting, Schedule):
            return setting
        if setting not in self.scheduled:
            now = value_at(setting, self.images_seen, self.total_images)
            self.scheduled[setting] = torch.full((), now, device=self.device)
        return self.scheduled[setting]


@dataclass(frozen=True)
class Batch:
    """This rank's part of a global batch, or one of its micro-batches.

    images: real images, float32 (N, C, S, S) in [-1, 1], on the device.
    classes: those of the images, int64 (N,), on the device; None without conditioning.
    rng: the N positions of the batch; latents, labels, ε, dropout and augmentation come from it.
    moment: that of the D step that takes the batch.
    """

    images: Tensor
    rng: PositionalRNG
    moment: Moment = Moment()
    classes: Tensor | None = None

    def split(self, count: int) -> list["Batch"]:
        """Return `count` micro-batches of equal size, in order; `count` divides the batch."""
        images, rngs = self.images.chunk(count), self.rng.split(count)
        classes = [None] * count if self.classes is None else self.classes.chunk(count)
        parts = zip(images, rngs, classes, strict=True)
        return [Batch(x, rng, self.moment, y) for x, rng, y in parts]


def local_rng(config: Config, start: int, rank: int, world_size: int) -> PositionalRNG:
    """Return the positions of this rank in the global batch that starts at position `start`."""
    count = config.training.batch_size // world_size
    return PositionalRNG(config.seed, start + rank * count, count)


def real_batches(
    dataset: ImageDataset,
    config: Config,
    first: PositionalRNG,
    device: torch.device,
    layout: torch.memory_format,
) -> Generator[Images, None, None]:
    """Yield this rank's real images for each D step, for ever.

    first: the rank's positions in the first batch, in the sequence of training images.
    Float32 (N, C, S, S) in [-1, 1] on the device, flipped and shifted as config.augment says.
    """
    stride = config.training.batch_size
    rng = first
    for images, classes in dataset.batches(first, stride, device, layout):
        flip = _flip_probability(config, rng)
        augmented = random_flip_shift(images, rng, flip=flip, max_shift=config.augment.shift)
        yield from itertools.repeat(Images(augmented, classes), steps_per_real_batch(config))
        rng = PositionalRNG(rng.seed, rng.start + stride, rng.count)


def _flip_probability(config: Config, rng: PositionalRNG) -> float | Tensor:
    """Return the probability of mirroring an image; if it is scheduled, that of each image.

    An image's is that at its own position, so that it does not depend on the number of ranks.
    """
    flip = config.augment.flip
    if not isinstance(flip, Schedule):
        return flip
    steps, total = steps_per_real_batch(config), config.total_images
    positions = range(rng.start, rng.start + rng.count)
    each = [value_at(flip, steps * position, total) for position in positions]
    return torch.tensor(each, dtype=torch.float64)[:, None]


def steps_per_real_batch(config: Config) -> int:
    """Return the number of D steps that use one real batch."""
    objective = config.objective
    if objective.kind == "wgan-gp" and objective.reuse_real_batch:
        return objective.n_critic
    return 1
