"""Gives each rank its share of each batch, in an order that the seed alone decides."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantrain.config import DataConfig
from gantrain.data.manifest import Manifest, read_manifest
from gantrain.data.members import decode_image, split_of
from gantrain.data.shards import iterate_shard
from gantrain.draws import Positions, Purpose, mixed_seed
from gantrain.errors import UserError


@dataclass(frozen=True)
class Pictures:
    """The training pictures of a set, decoded: uint8 of shape (N, C, S, S)."""

    images: Tensor

    def at(self, positions: Positions, device: torch.device) -> Tensor:
        """The pictures at positions of the endless sequence, float32 in [-1, 1].

        Position p is the (p mod N)-th of the p // N-th epoch, and each epoch is a permutation of
        all pictures that the seed decides.
        """
        total = len(self.images)
        wanted = np.arange(positions.start, positions.start + positions.count)
        rows = np.empty_like(wanted)
        for epoch in range(wanted[0] // total, wanted[-1] // total + 1):
            inside = wanted // total == epoch
            rows[inside] = epoch_order(positions.seed, epoch, total)[wanted[inside] % total]
        batch = self.images[torch.from_numpy(rows)].to(device, non_blocking=True)
        return batch.float().div_(127.5).sub_(1)

    def batches(
        self, first: Positions, stride: int, device: torch.device, layout: torch.memory_format
    ) -> Iterator[Tensor]:
        """One rank's share of every batch, for ever: `first`, then `stride` positions on."""
        start = first.start
        while True:
            share = Positions(first.seed, start, first.count)
            yield self.at(share, device).contiguous(memory_format=layout)
            start += stride


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, total: int) -> NDArray[np.int64]:
    """The permutation of 0 ... total - 1 in which an epoch goes through the pictures."""
    generator = np.random.default_rng(mixed_seed(seed, Purpose.ORDER, epoch))
    return generator.permutation(total)


def load_pictures(config: DataConfig) -> Pictures:
    """Decode the training split of a set into memory.

    Raises UserError if the set is missing, broken or empty, or holds other pictures than the
    config says.
    """
    manifest = read_manifest(config.shards)
    check_matches(config, manifest)
    images = np.empty((manifest.count, config.channels, config.size, config.size), np.uint8)
    count = 0
    for entry in manifest.shards:
        for sample in iterate_shard(config.shards, manifest, entry):
            if split_of(sample.label) == "train":
                where = f"{config.shards / entry.name}: {sample.key}.png"
                images[count] = decode_image(
                    sample.image, config.size, config.channels, where=where
                )
                count += 1
    if not count:
        raise UserError(f"{config.shards}: every picture is held out; expected some to train on.")
    return Pictures(torch.from_numpy(images[:count]))


def check_matches(config: DataConfig, manifest: Manifest) -> None:
    """Raise UserError unless the set holds pictures of the config's size and channels."""
    for key in ("size", "channels"):
        wanted, found = getattr(config, key), getattr(manifest, key)
        if wanted != found:
            raise UserError(
                f"data.{key}: {wanted} asked for, but {config.shards} holds pictures of {key} "
                f"{found}; set data.{key}={found}, or make another set."
            )
