"""Batches: real images together with the random numbers that belong to them."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gantrain.common.rng import PositionalRNG
from gantrain.config import Config
from gantrain.data.loading.datasets import ImageDataset
from gantrain.models.augment import random_flip_shift


@dataclass(frozen=True)
class Batch:
    """This rank's part of a global batch, or one of its micro-batches.

    images: real images, float32 (N, C, S, S) in [-1, 1], on the device.
    rng: the N positions of the batch; latents, labels, ε, dropout and augmentation come from it.
    step: number of the D step that takes the batch.
    """

    images: Tensor
    rng: PositionalRNG
    step: int = 0

    def split(self, count: int) -> list["Batch"]:
        """Return `count` micro-batches of equal size, in order; `count` divides the batch."""
        images, rngs = self.images.chunk(count), self.rng.split(count)
        return [Batch(x, rng, self.step) for x, rng in zip(images, rngs, strict=True)]


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
) -> Iterator[Tensor]:
    """Yield this rank's real images for each D step, for ever.

    first: the rank's positions in the first batch, in the sequence of training images.
    Float32 (N, C, S, S) in [-1, 1] on the device, flipped and shifted as config.augment says.
    """
    stride = config.training.batch_size
    rng = first
    for images in dataset.batches(first, stride, device, layout):
        augmented = random_flip_shift(images, rng, config.augment)
        yield from itertools.repeat(augmented, steps_per_real_batch(config))
        rng = PositionalRNG(rng.seed, rng.start + stride, rng.count)


def steps_per_real_batch(config: Config) -> int:
    """Return the number of D steps that use one real batch."""
    objective = config.objective
    if objective.kind == "wgan-gp" and objective.reuse_real_batch:
        return objective.n_critic
    return 1
