"""Datasets that yield each rank its part of every global batch, in an order set by the seed."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from gantrain.common.prefetch import prefetch
from gantrain.common.rng import PositionalRNG
from gantrain.common.transfer import to_device
from gantrain.config import DataConfig
from gantrain.data.loading.cache import Cache
from gantrain.data.loading.order import FullShuffle, Indices, local_rngs
from gantrain.data.loading.selection import held_out_rows
from gantrain.data.loading.stream import BatchDecoder, ShardStream, decoded_batches, valid_batches
from gantrain.data.shards.faults import FaultLog
from gantrain.data.shards.manifest import Manifest

_BATCHES_AHEAD = 2


class Images(NamedTuple):
    """Images (N, C, S, S), and the class of each, int64 (N,); None if classes are not needed."""

    images: Tensor
    classes: Tensor | None


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

    def class_counts(self) -> dict[str, int]:
        """Return the number of images to train on of each class, in the order of the indices.

        Empty if the config does not need classes.
        """

    def held_out(self, config: DataConfig) -> "ImageDataset | None":
        """Return the images that are never trained on, in an order of their own.

        None if there are none, or they are not at hand since the images are streamed.
        """

    def images(self, rng: PositionalRNG) -> Tensor:
        """Return the images at the RNG's positions, uint8 (rng.count, C, S, S), on the CPU."""

    def labelled_images(self, rng: PositionalRNG) -> Images:
        """Return the same images with their classes."""

    def batches(
        self,
        rng: PositionalRNG,
        global_batch_size: int,
        device: torch.device,
        layout: torch.memory_format,
    ) -> Iterator[Images]:
        """Yield one rank's part of every global batch, endlessly.

        rng: the rank's positions in the first global batch; those in the next one are
            `global_batch_size` further, and so on.

        The images are float32 (rng.count, C, S, S) in [-1, 1]; they and the classes are on
        `device`.

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
    class_names: keys of the classes in the order of their indices; empty if they are not needed.
    class_index: int64, of each image of the set; None without `class_names`.
    """

    cache: Cache
    rows: Indices
    log: FaultLog
    device_share: float
    description: str
    manifest: Manifest
    class_names: tuple[str, ...] = ()
    class_index: Indices | None = None

    @property
    def total(self) -> int:
        return len(self.rows)

    @property
    def fingerprint(self) -> int:
        return _hash("cache", self.rows)

    @property
    def decoded(self) -> Cache | None:
        return self.cache

    def class_counts(self) -> dict[str, int]:
        if self.class_index is None:
            return {}
        return _count(self.class_names, self.class_index[self.rows])

    def held_out(self, config: DataConfig) -> "CachedImageDataset | None":
        rows = held_out_rows(self.cache.table, config, self.class_names)
        return replace(self, rows=rows) if len(rows) else None

    def images(self, rng: PositionalRNG) -> Tensor:
        return self.labelled_images(rng).images

    def labelled_images(self, rng: PositionalRNG) -> Images:
        rows = self.rows[FullShuffle(self.total).indices(rng)]
        images = torch.from_numpy(self.cache.images.numpy().take(rows, axis=0))
        return Images(images, self._classes_of(rows))

    def _classes_of(self, rows: Indices) -> Tensor | None:
        return None if self.class_index is None else torch.from_numpy(self.class_index[rows])

    def batches(
        self,
        rng: PositionalRNG,
        global_batch_size: int,
        device: torch.device,
        layout: torch.memory_format,
    ) -> Iterator[Images]:
        rngs = local_rngs(rng, global_batch_size)
        if device.type == "cpu":
            for local_rng in rngs:  # so small a copy does not need a thread
                images, classes = self.labelled_images(local_rng)
                yield Images(scaled(images, layout), classes)
        elif self._fits(device):
            resident = self.cache.images[torch.from_numpy(self.rows)].to(device)
            order = FullShuffle(self.total)
            for local_rng in rngs:
                indices = order.indices(local_rng)
                index = to_device(torch.from_numpy(indices), device)
                classes = self._classes_of(self.rows[indices])
                yield Images(scaled(resident[index], layout), _classes_to(classes, device))
        else:
            pinned = (_pinned(self.labelled_images(local_rng)) for local_rng in rngs)
            # The thread never waits for anything, so nothing has to end its wait.
            ahead = prefetch(pinned, _BATCHES_AHEAD, unblock=lambda: None)
            with closing(ahead):
                for images, classes in ahead:
                    on_device = to_device(images, device)
                    yield Images(scaled(on_device, layout), _classes_to(classes, device))

    def _fits(self, device: torch.device) -> bool:
        if device.type != "cuda":
            return False
        free = torch.cuda.mem_get_info(device)[0]
        return self.total * self.cache.images[0].numel() <= self.device_share * free


@dataclass(frozen=True)
class StreamedImageDataset:
    """Images decoded when a batch needs them; see `gantrain.data.loading.stream`.

    workers: number of decoding processes; 0 decodes in this process.
    class_names: keys of the classes in the order of their indices; empty if they are not needed.
    """

    stream: ShardStream
    workers: int
    log: FaultLog
    description: str
    manifest: Manifest
    class_names: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return self.stream.order.total

    def class_counts(self) -> dict[str, int]:
        stream = self.stream
        if stream.classes is None or stream.selected is None:
            return {}
        pairs = zip(stream.classes, stream.selected, strict=True)
        selected = [classes[rows] for classes, rows in pairs]
        return _count(self.class_names, np.concatenate(selected))

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
        return self.labelled_images(rng).images

    def labelled_images(self, rng: PositionalRNG) -> Images:
        with closing(BatchDecoder(self.stream)) as decoder:
            (batch,) = valid_batches(iter([decoder.decode(rng)]), self.log)
        return Images(batch.images, batch.classes if self.class_names else None)

    def batches(
        self,
        rng: PositionalRNG,
        global_batch_size: int,
        device: torch.device,
        layout: torch.memory_format,
    ) -> Iterator[Images]:
        incoming = decoded_batches(
            self.stream, rng, global_batch_size, self.workers, pin_memory=device.type == "cuda"
        )
        for batch in valid_batches(incoming, self.log):
            classes = batch.classes if self.class_names else None
            images = scaled(to_device(batch.images, device), layout)
            yield Images(images, _classes_to(classes, device))


def _count(names: Sequence[str], class_index: Indices) -> dict[str, int]:
    counts = np.bincount(class_index, minlength=len(names)).tolist()
    return dict(zip(names, counts, strict=True))


def _classes_to(classes: Tensor | None, device: torch.device) -> Tensor | None:
    return None if classes is None else to_device(classes, device)


def _pinned(batch: Images) -> Images:
    classes = None if batch.classes is None else batch.classes.pin_memory()
    return Images(batch.images.pin_memory(), classes)


def _hash(*content: str | Indices) -> int:
    """Return 63 bits of a SHA-256 of the content."""
    digest = hashlib.sha256()
    for item in content:
        digest.update(item.encode() if isinstance(item, str) else item.tobytes())
    return int.from_bytes(digest.digest()[:8], "big") >> 1
