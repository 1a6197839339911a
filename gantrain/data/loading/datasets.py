"""Gives each rank its share of each batch, in an order that the seed alone decides."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.pools import usable_cores
from gantrain.common.prefetch import prefetch
from gantrain.common.rng import PositionalRNG
from gantrain.config import DataConfig
from gantrain.data.loading.cache import Cache, cache_folder, decoded_bytes, open_cache
from gantrain.data.loading.decoder_processes import decoder_context
from gantrain.data.loading.order import FullShuffle, Indexes, WindowShuffle
from gantrain.data.loading.row_table import read_rows
from gantrain.data.loading.scratch import free_disk, free_memory, scratch_folder
from gantrain.data.loading.selection import needs_labels, training_rows
from gantrain.data.loading.stream import ShardStream, Worker, decoded_batches, valid_batches
from gantrain.data.shards.faults import Fault, FaultLog
from gantrain.data.shards.manifest import Manifest, find_file_problems, load_manifest, read_manifest
from gantrain.data.shards.store import ShardStore

_BATCHES_AHEAD = 2
_DISK_SHARE = 0.8  # of the scratch's free bytes that `auto` gives to decoded images
_MEMORY_SHARE = 0.5  # of the free memory; images that are not in it are read from disk at random


class ImageDataset(Protocol):
    """The images to train on, in their endless order.

    total: how many there are, which is the length of an epoch.
    log: what is broken in the set.
    description: how they reach the networks, for people.
    fingerprint: equal on two ranks exactly if they see the same images in the same order.
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
    def decoded(self) -> Cache | None:
        """All images of the set with their labels; None where images are streamed."""

    def images(self, rng: PositionalRNG) -> Tensor:
        """The images at the positions of the sequence, uint8 (rng.count, C, S, S), on the CPU."""

    def batches(
        self, first: PositionalRNG, stride: int, device: torch.device, layout: torch.memory_format
    ) -> Iterator[Tensor]:
        """One rank's share of every batch, for ever: `first`, then `stride` positions on.

        Float32 (first.count, C, S, S) in [-1, 1] on the device. Raises UserError if the images
        can no longer be had.
        """


def scaled(images: Tensor, layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    """uint8 0 ... 255 to float32 -1 ... 1, on the device where they are."""
    if images.device.type == "cpu":
        # By NumPy, in one thread: torch would share so small a job among threads that wait for one
        # another by spinning, which is 100 times slower where decoding processes want the cores.
        pixels = images.numpy()
        last = layout == torch.channels_last and images.shape[1] > 1
        floats = (pixels.transpose(0, 2, 3, 1) if last else pixels).astype(np.float32, order="C")
        floats -= np.float32(127.5)
        floats /= np.float32(127.5)
        batch = torch.from_numpy(floats)
        return batch.permute(0, 3, 1, 2) if last else batch
    return images.float().sub_(127.5).div_(127.5).contiguous(memory_format=layout)


@dataclass(frozen=True)
class CachedImageDataset:
    """Images of a decoded file, see `gantrain.data.loading.cache`.

    chosen: rows to train on, ascending.
    device_share: of a GPU's free memory that the images may take.
    """

    cache: Cache
    chosen: Indexes
    log: FaultLog
    device_share: float
    description: str

    @property
    def total(self) -> int:
        return len(self.chosen)

    @property
    def fingerprint(self) -> int:
        return _hash("cache", self.chosen)

    @property
    def decoded(self) -> Cache | None:
        return self.cache

    def images(self, rng: PositionalRNG) -> Tensor:
        rows = self.chosen[FullShuffle(self.total).indices(rng)]
        return torch.from_numpy(self.cache.images.numpy().take(rows, axis=0))

    def batches(
        self, first: PositionalRNG, stride: int, device: torch.device, layout: torch.memory_format
    ) -> Iterator[Tensor]:
        if device.type == "cpu":
            for share in _shares(first, stride):  # so small a copy needs no thread of its own
                yield scaled(self.images(share), layout)
        elif self._fits(device):
            # Untested on a GPU.
            resident = self.cache.images[torch.from_numpy(self.chosen)].to(device)
            order = FullShuffle(self.total)
            for share in _shares(first, stride):
                index = torch.from_numpy(order.indices(share)).pin_memory()
                yield scaled(resident[index.to(device, non_blocking=True)], layout)
        else:
            # Untested on a GPU.
            pinned = (self.images(share).pin_memory() for share in _shares(first, stride))
            for share_of_batch in prefetch(pinned, _BATCHES_AHEAD):
                yield scaled(share_of_batch.to(device, non_blocking=True), layout)

    def _fits(self, device: torch.device) -> bool:
        if device.type != "cuda":
            return False
        free = torch.cuda.mem_get_info(device)[0]
        return self.total * self.cache.images[0].numel() <= self.device_share * free


@dataclass(frozen=True)
class StreamedImageDataset:
    """Images that are decoded when they are needed, see `gantrain.data.loading.stream`."""

    stream: ShardStream
    workers: int
    log: FaultLog
    description: str

    @property
    def total(self) -> int:
        return self.stream.order.total

    @property
    def fingerprint(self) -> int:
        chosen = self.stream.chosen or ()
        return _hash(
            "stream", self.stream.order.counts, np.array([self.stream.order.window]), *chosen
        )

    @property
    def decoded(self) -> Cache | None:
        return None

    def images(self, rng: PositionalRNG) -> Tensor:
        (images,) = valid_batches(iter([Worker(self.stream).read(rng)]), self.log)
        return images

    def batches(
        self, first: PositionalRNG, stride: int, device: torch.device, layout: torch.memory_format
    ) -> Iterator[Tensor]:
        pin = device.type == "cuda"
        incoming = decoded_batches(self.stream, first, stride, self.workers, pin_memory=pin)
        for images in valid_batches(incoming, self.log):
            yield scaled(images.to(device, non_blocking=True), layout)


def open_dataset(config: DataConfig) -> ImageDataset:
    """Get the images to train on ready, as `config.mode` says.

    Raises UserError if the set is missing, broken or empty, holds other images than the config
    says, or the scratch refuses.
    """
    scratch = scratch_folder(config)
    store = ShardStore(
        location=config.shards,
        scratch=scratch,
        limit=int(config.shard_cache_gb * 1e9),
        timeout=config.timeout_s,
        retries=config.retries,
    )
    manifest = store.manifest()
    check_matches(config, manifest)
    log = FaultLog(config.on_error)
    complete = _look_at_files(config, log)
    mode, reason = _choose_mode(config, manifest, store)
    if mode == "cache":
        workers = usable_cores() if config.workers is None else config.workers
        cache = open_cache(store, manifest, workers, log)
        chosen = training_rows(cache.rows, config)
        description = f"{len(chosen):,} images, decoded in {scratch} ({reason})"
        return CachedImageDataset(cache, chosen, log, config.device_share, description)
    return _open_stream(config, store, manifest, log, complete, reason)


def _open_stream(
    config: DataConfig,
    store: ShardStore,
    manifest: Manifest,
    log: FaultLog,
    complete: bool,
    reason: str,
) -> StreamedImageDataset:
    workers = config.workers
    if workers is None:
        workers = max(usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 1)
    if workers:
        decoder_context()  # before anything else starts processes in another way
    counts = np.array([entry.count for entry in manifest.shards])
    chosen = None
    if not complete or needs_labels(config, manifest):
        rows = read_rows(store, manifest, workers, log)
        wanted = training_rows(rows, config)
        starts = np.cumsum(counts) - counts
        bounds = np.searchsorted(wanted, [*starts, len(rows)])
        chosen = tuple(
            wanted[a:b] - start for a, b, start in zip(bounds, bounds[1:], starts, strict=False)
        )
        counts = np.array([len(of_shard) for of_shard in chosen])
    order = WindowShuffle(counts, config.shuffle_buffer)
    stream = ShardStream(store, manifest.shards, manifest.size, manifest.channels, chosen, order)
    description = f"{order.total:,} images, streamed by {workers} worker(s) a rank ({reason})"
    return StreamedImageDataset(stream, workers, log, description)


def _shares(first: PositionalRNG, stride: int) -> Iterator[PositionalRNG]:
    start = first.start
    while True:
        yield PositionalRNG(first.seed, start, first.count)
        start += stride


def _hash(*content: str | Indexes) -> int:
    """63 bits that tell one selection and order from another."""
    digest = hashlib.sha256()
    for piece in content:
        digest.update(piece.encode() if isinstance(piece, str) else piece.tobytes())
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def check_matches(config: DataConfig, manifest: Manifest) -> None:
    """Raise UserError unless the set holds images of the config's size and channels."""
    for key in ("size", "channels"):
        wanted, found = getattr(config, key), getattr(manifest, key)
        if wanted != found:
            raise UserError(
                f"data.{key}: {wanted} asked for, but {config.shards} holds images of {key} "
                f"{found}; set data.{key}={found}, or make another set."
            )


def _look_at_files(config: DataConfig, log: FaultLog) -> bool:
    """Whether all files of a set are there, by name and length, as far as that can be seen now."""
    if not isinstance(config.shards, Path):
        return True  # those of a remote set are found out when they are fetched
    if config.on_error == "fail":
        read_manifest(config.shards)
        return True
    manifest = load_manifest(config.shards)
    problems = find_file_problems(config.shards, manifest)
    known = {entry.name for entry in manifest.shards}
    for name in problems.keys() - known:
        log.add([Fault(str(config.shards / name), "a shard that the manifest does not know", 0)])
    return not problems.keys() & known


def _choose_mode(config: DataConfig, manifest: Manifest, store: ShardStore) -> tuple[str, str]:
    """cache or stream, and why."""
    if config.mode != "auto":
        return config.mode, f"data.mode={config.mode}"
    needed = decoded_bytes(manifest)
    size = f"{needed / 1e6:,.0f} MB decoded"
    if cache_folder(store.scratch, manifest).exists():
        return "cache", f"{size}, there already"
    for room, share, place in (
        (free_disk(store.scratch), _DISK_SHARE, f"free in {store.scratch}"),
        (free_memory(), _MEMORY_SHARE, "of free memory"),
    ):
        if needed > share * room:
            return "stream", f"{size}, more than {share:.0%} of the {room / 1e6:,.0f} MB {place}"
    return "cache", f"{size}, which fits"
