"""Datasets that yield each rank its part of every global batch, in an order set by the seed."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gantrain.common.prefetch import prefetch
from gantrain.common.rng import PositionalRNG
from gantrain.config import DataConfig
from gantrain.data.loading.cache import Cache
from gantrain.data.loading.order import FullShuffle, Indices, local_rngs
from gantrain.data.loading.selection import held_out_rows
from gantrain.data.loading.stream import BatchDecoder, ShardStream, decoded_batches, valid_batches
from gantrain.data.shards.faults import FaultLog
from gantrain.data.shards.manifest import Manifest

_BATCHES_AHEAD = 2


class ImageDataset(Protocol):
    """The images to train on, as an endless sequence.

    total: number of images, which is the length of an epoch.
    log: the faults of the set.
    description: number of images and loading mode, for display.
    fingerprint: equal on two ranks exactly if they see the same images in the same order.
    manifest: the set's.
    """

    @property
    def total(self) -> int: ...

    @property
    def log(self) -> FaultLog: ...

    @property
    def description(self) -> str: ...

    @property
    def fingerprint(self) -> int: ...

    @property
    def manifest(self) -> Manifest: ...

    @property
    def decoded(self) -> Cache | None:
        """All images of the set and their classes; None if the images are streamed."""

    def held_out(self, config: DataConfig) -> "ImageDataset | None":
        """Return the images that are never trained on, in an order of their own.

        None if there are none, or they are not at hand since the images are streamed.
        """

    def images(self, rng: PositionalRNG) -> Tensor:
        """Return the images at the RNG's positions, uint8 (rng.count, C, S, S), on the CPU."""

    def batches(
        self,
        rng: PositionalRNG,
        global_batch_size: int,
        device: torch.device,
        layout: torch.memory_format,
    ) -> Iterator[Tensor]:
        """Yield one rank's part of every global batch, endlessly.

        rng: the rank's positions in the first global batch; those in the next one are
            `global_batch_size` further, and so on.

        The batches are float32 (rng.count, C, S, S) in [-1, 1], on `device`.

        Raises UserError if the images become unavailable.
        """


def scaled(images: Tensor, layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    """Return uint8 images, 0 to 255, as float32 in [-1, 1] on the same device."""
    if images.device.type == "cpu":
        # In NumPy, which uses one thread. The threads of torch spin while they wait for each other,
        # which is 100 times slower when decoding processes compete for the cores.
        pixels = images.numpy()
        channels_last = layout == torch.channels_last and images.shape[1] > 1
        source = pixels.transpose(0, 2, 3, 1) if channels_last else pixels
        floats = source.astype(np.float32, order="C")
        floats -= np.float32(127.5)
        floats /= np.float32(127.5)
        batch = torch.from_numpy(floats)
        return batch.permute(0, 3, 1, 2) if channels_last else batch
    return images.float().sub_(127.5).div_(127.5).contiguous(memory_format=layout)


@dataclass(frozen=True)
class CachedImageDataset:
    """Images from the decoded file; see `gantrain.data.loading.cache`.

    rows: int64 (total,), rows of the training images in the set, ascending.
    device_share: fraction of a GPU's free memory that the images may occupy.
    """

    cache: Cache
    rows: Indices
    log: FaultLog
    device_share: float
    description: str
    manifest: Manifest

    @property
    def total(self) -> int:
        return len(self.rows)

    @property
    def fingerprint(self) -> int:
        return _hash("cache", self.rows)

    @property
    def decoded(self) -> Cache | None:
        return self.cache

    def held_out(self, config: DataConfig) -> "CachedImageDataset | None":
        rows = held_out_rows(self.cache.table, config)
        return replace(self, rows=rows) if len(rows) else None

    def images(self, rng: PositionalRNG) -> Tensor:
        rows = self.rows[FullShuffle(self.total).indices(rng)]
        return torch.from_numpy(self.cache.images.numpy().take(rows, axis=0))

    def batches(
        self,
        rng: PositionalRNG,
        global_batch_size: int,
        device: torch.device,
        layout: torch.memory_format,
    ) -> Iterator[Tensor]:
        rngs = local_rngs(rng, global_batch_size)
        if device.type == "cpu":
            for local_rng in rngs:  # so small a copy does not need a thread
                yield scaled(self.images(local_rng), layout)
        elif self._fits(device):
            # Untested on a GPU.
            resident = self.cache.images[torch.from_numpy(self.rows)].to(device)
            order = FullShuffle(self.total)
            for local_rng in rngs:
                index = torch.from_numpy(order.indices(local_rng)).pin_memory()
                yield scaled(resident[index.to(device, non_blocking=True)], layout)
        else:
            # Untested on a GPU.
            pinned = (self.images(local_rng).pin_memory() for local_rng in rngs)
            for images in prefetch(pinned, _BATCHES_AHEAD):
                yield scaled(images.to(device, non_blocking=True), layout)

    def _fits(self, device: torch.device) -> bool:
        if device.type != "cuda":
            return False
        free = torch.cuda.mem_get_info(device)[0]
        return self.total * self.cache.images[0].numel() <= self.device_share * free


@dataclass(frozen=True)
class StreamedImageDataset:
    """Images decoded when a batch needs them; see `gantrain.data.loading.stream`.

    workers: number of decoding processes; 0 decodes in this process.
    """

    stream: ShardStream
    workers: int
    log: FaultLog
    description: str
    manifest: Manifest

    @property
    def total(self) -> int:
        return self.stream.order.total

    @property
    def fingerprint(self) -> int:
        order, selected = self.stream.order, self.stream.selected or ()
        return _hash("stream", order.counts, np.array([order.window]), *selected)

    @property
    def decoded(self) -> Cache | None:
        return None

    def held_out(self, config: DataConfig) -> None:
        return None

    def images(self, rng: PositionalRNG) -> Tensor:
        with closing(BatchDecoder(self.stream)) as decoder:
            (images,) = valid_batches(iter([decoder.decode(rng)]), self.log)
        return images

    def batches(
        self,
        rng: PositionalRNG,
        global_batch_size: int,
        device: torch.device,
        layout: torch.memory_format,
    ) -> Iterator[Tensor]:
        incoming = decoded_batches(
            self.stream, rng, global_batch_size, self.workers, pin_memory=device.type == "cuda"
        )
        for images in valid_batches(incoming, self.log):
            yield scaled(images.to(device, non_blocking=True), layout)


def _hash(*content: str | Indices) -> int:
    """Return 63 bits of a SHA-256 of the content."""
    digest = hashlib.sha256()
    for item in content:
        digest.update(item.encode() if isinstance(item, str) else item.tobytes())
    return int.from_bytes(digest.digest()[:8], "big") >> 1
