"""The decoded images of a set: one file in the machine's scratch, which all its ranks map.

The file contains each image as uint8, held-out ones included, so that every selection of the set
uses the same file. Its folder is named after the manifest's identity: a changed set gets another
folder.
"""

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.files import partial_folders, remove_leftovers, replacing_folder
from gantrain.common.locks import exclusive_task, size_and_mtime
from gantrain.common.pools import map_in_order
from gantrain.data.loading.decode import Section, decode_section, disk_full_error
from gantrain.data.loading.image_table import ImageInfo, ImageTable
from gantrain.data.shards.faults import Fault, FaultLog
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.store import ShardStore

logger = logging.getLogger(__name__)

_VERSION = 2  # of the folder's content
_IMAGES_NAME = "images.u8"
_LOG_INTERVAL = 5.0  # seconds
_MIN_BYTES_FOR_PROCESSES = 100_000_000  # with fewer, processes take longer to start than to decode


@dataclass(frozen=True)
class Cache:
    """All images of a set.

    images: uint8 (N, C, S, S), mapped from the file; read-only. Broken images are black.
    table: class, view and state of each image.
    """

    images: Tensor
    table: ImageTable


def cache_folder(scratch: Path, manifest: Manifest) -> Path:
    """Return the folder of a set's decoded images, whether or not it exists."""
    return scratch / "decoded" / f"{manifest.identity[:32]}-v{_VERSION}"


def decoded_bytes(manifest: Manifest) -> int:
    """Return the size in bytes of all images of a set as uint8."""
    return manifest.count * manifest.channels * manifest.size**2


def open_cache(store: ShardStore, manifest: Manifest, workers: int, log: FaultLog) -> Cache:
    """Map the decoded images of a set; decode them first if this machine has not done so yet.

    One process of the machine decodes, with `workers` worker processes; the others wait. It removes
    what a killed process left behind. If the decoded set has faults, each later run decodes it
    again, since the set may have been repaired.

    Raises UserError naming shard and member for the first fault, unless `log` skips faults; naming
    the folder if the disk is full; and naming the lock if the decoding process makes no progress.
    """
    folder = cache_folder(store.scratch, manifest)
    start = time.time()
    loaded = _load(folder, manifest)
    if loaded is None or loaded[1]:
        with exclusive_task(
            folder.with_name(folder.name + ".lock"),
            "decode the images",
            progress=lambda: [size_and_mtime(path) for path in _progress_files(store, folder)],
            timeout=store.timeout,
        ):
            loaded = _load(folder, manifest)
            if loaded is None or (loaded[1] and folder.stat().st_mtime < start):
                _build(folder, store, manifest, workers, log)
                loaded = _load(folder, manifest)
    if loaded is None:
        raise UserError(f"{folder}: disappeared while it was being opened; start again.")
    cache, faults = loaded
    log.add(faults)
    return cache


def _progress_files(store: ShardStore, folder: Path) -> list[Path]:
    decoded = [path / _IMAGES_NAME for path in partial_folders(folder)]
    return sorted([*decoded, *(store.scratch / "shards").glob("*.partial")])


def _load(folder: Path, manifest: Manifest) -> tuple[Cache, tuple[Fault, ...]] | None:
    shape = (manifest.count, manifest.channels, manifest.size, manifest.size)
    try:
        if (folder / _IMAGES_NAME).stat().st_size != decoded_bytes(manifest):
            return None
        table, faults = ImageTable.load(folder, manifest.count)
        # Copy-on-write mode, although nothing writes: torch warns about read-only arrays.
        images = np.memmap(folder / _IMAGES_NAME, np.uint8, "c", shape=shape)
    except (OSError, ValueError):
        return None
    return Cache(torch.from_numpy(images), table), faults


def _build(
    folder: Path, store: ShardStore, manifest: Manifest, workers: int, log: FaultLog
) -> None:
    remove_leftovers(folder)
    with ExitStack() as stack:
        try:
            staging = stack.enter_context(replacing_folder(folder))
            with (staging / _IMAGES_NAME).open("xb") as file:
                _reserve(file, decoded_bytes(manifest))
        except OSError as error:
            raise disk_full_error(folder, error, decoded_bytes(manifest)) from None
        infos, faults = _decode_all(staging / _IMAGES_NAME, store, manifest, workers, log)
        try:
            ImageTable.from_infos(infos).save(staging, faults)
            stack.close()
        except OSError as error:
            raise disk_full_error(folder, error, decoded_bytes(manifest)) from None


def _reserve(file: BinaryIO, size: int) -> None:
    """Make a file of this many bytes, so that a full disk is an error before images are decoded."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    # macOS has no such call: what is free now is all that can be known.
    free = shutil.disk_usage(file.name).free
    if free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
    file.truncate(size)


def _decode_all(
    target: Path, store: ShardStore, manifest: Manifest, workers: int, log: FaultLog
) -> tuple[list[ImageInfo], list[Fault]]:
    if decoded_bytes(manifest) < _MIN_BYTES_FOR_PROCESSES and not store.remote:
        workers = min(workers, 1)
    infos: list[ImageInfo] = []
    faults: list[Fault] = []
    last_log = time.monotonic()
    task = partial(decode_section, store, manifest.target, target)
    for result in map_in_order(
        task, _sections(manifest, workers), workers=max(workers, 1), pending_per_worker=2
    ):
        log.add(result.faults)
        infos += result.infos
        faults += result.faults
        if time.monotonic() - last_log > _LOG_INTERVAL:
            last_log = time.monotonic()
            logger.info(f"decoding images: {len(infos):,} of {manifest.count:,}")
    return infos, faults


def _sections(manifest: Manifest, workers: int) -> Iterator[Section]:
    """Yield the shards, each divided further if there are fewer shards than workers."""
    per_shard = -(-max(workers, 1) // len(manifest.shards))
    row = 0
    for entry in manifest.shards:
        bounds = [entry.count * i // per_shard for i in range(per_shard + 1)]
        for first, end in pairwise(bounds):
            if first < end:
                yield Section(entry, first, end - first, row + first)
        row += entry.count
