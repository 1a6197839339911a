"""Images decoded once into a file of this machine's scratch, which all its ranks map.

Each image is uint8 at its row of the set, held-out ones too, so that another selection of the
same set needs no other file. The folder is named by the manifest's identity: a set that changes is
another one.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.files import partial_folders, remove_leftovers, replacing_folder
from gantrain.common.locks import exclusive_task, size_and_mtime
from gantrain.common.pools import map_in_order
from gantrain.data.loading.decode import Section, decode_section, full_disk
from gantrain.data.loading.rows import RowFacts, Rows
from gantrain.data.shards.faults import Fault, FaultLog
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.store import ShardStore

logger = logging.getLogger(__name__)

_VERSION = 1  # of the folder's content
_PICTURES = "images.u8"
_SAY_EVERY = 5.0  # seconds
_WORTH_PROCESSES = 100_000_000  # bytes of images below which processes start too slowly


@dataclass(frozen=True)
class Cache:
    """All images of a set.

    images: uint8 (N, C, S, S), mapped from the file; to be read only.
    rows: what is known of each; those BROKEN hold no image.
    """

    images: Tensor
    rows: Rows


def cache_folder(scratch: Path, manifest: Manifest) -> Path:
    """Where the decoded images of a set are, or will be."""
    return scratch / "decoded" / f"{manifest.identity[:32]}-v{_VERSION}"


def decoded_bytes(manifest: Manifest) -> int:
    """Length of all images of a set as uint8."""
    return manifest.count * manifest.channels * manifest.size**2


def open_cache(store: ShardStore, manifest: Manifest, workers: int, log: FaultLog) -> Cache:
    """Map the images of a set; decode them first if no process of this machine has done so.

    One process decodes, with as many `workers`, and the others wait for it. What a process that
    died left behind is removed. A file made of a set with faults is made again by each run, since
    the set may have been mended.

    Raises UserError naming shard and member for what is broken, unless `log` lets it pass; the
    folder if the disk is full; and the lock if the process that decodes gets nowhere.
    """
    folder = cache_folder(store.scratch, manifest)
    began = time.time()
    cache = _load(folder, manifest)
    if cache is None or cache[1]:
        with exclusive_task(
            folder.with_name(folder.name + ".lock"),
            "decode the images",
            progress=lambda: [size_and_mtime(path) for path in _signs_of_life(store, folder)],
            timeout=store.timeout,
        ):
            cache = _load(folder, manifest)
            if cache is None or (cache[1] and folder.stat().st_mtime < began):
                _build(folder, store, manifest, workers, log)
                cache = _load(folder, manifest)
    if cache is None:
        raise UserError(f"{folder}: vanished while it was opened; start again.")
    opened, faults = cache
    log.add(faults)
    return opened


def _signs_of_life(store: ShardStore, folder: Path) -> list[Path]:
    decoded = [path / _PICTURES for path in partial_folders(folder)]
    return sorted([*decoded, *(store.scratch / "shards").glob("*.partial")])


def _load(folder: Path, manifest: Manifest) -> tuple[Cache, tuple[Fault, ...]] | None:
    shape = (manifest.count, manifest.channels, manifest.size, manifest.size)
    try:
        if (folder / _PICTURES).stat().st_size != decoded_bytes(manifest):
            return None
        rows, faults = Rows.load(folder, manifest.count)
        # Copy-on-write: torch warns of arrays that it must not write to. Nobody writes.
        images = np.memmap(folder / _PICTURES, np.uint8, "c", shape=shape)
    except (OSError, ValueError):
        return None
    return Cache(torch.from_numpy(images), rows), faults


def _build(
    folder: Path, store: ShardStore, manifest: Manifest, workers: int, log: FaultLog
) -> None:
    remove_leftovers(folder)
    with ExitStack() as stack:
        try:
            staging = stack.enter_context(replacing_folder(folder))
            with (staging / _PICTURES).open("xb") as file:
                # Room for all of it now: a mapped file on a full disk would kill its readers.
                os.posix_fallocate(file.fileno(), 0, decoded_bytes(manifest))
        except OSError as error:
            raise full_disk(folder, error, decoded_bytes(manifest)) from None
        facts, faults = _decode_all(staging / _PICTURES, store, manifest, workers, log)
        try:
            Rows.of(facts).save(staging, faults)
            stack.close()
        except OSError as error:
            raise full_disk(folder, error, decoded_bytes(manifest)) from None


def _decode_all(
    target: Path, store: ShardStore, manifest: Manifest, workers: int, log: FaultLog
) -> tuple[list[RowFacts], list[Fault]]:
    if decoded_bytes(manifest) < _WORTH_PROCESSES and not store.remote:
        workers = min(workers, 1)
    facts: list[RowFacts] = []
    faults: list[Fault] = []
    spoke = time.monotonic()
    task = partial(decode_section, store, manifest.size, manifest.channels, target)
    for found in map_in_order(
        task, _sections(manifest, workers), workers=max(workers, 1), pending_per_worker=2
    ):
        log.add(found.faults)
        facts += found.facts
        faults += found.faults
        if time.monotonic() - spoke > _SAY_EVERY:
            spoke = time.monotonic()
            logger.info(f"decoding images: {len(facts):,} of {manifest.count:,}")
    return facts, faults


def _sections(manifest: Manifest, workers: int) -> Iterator[Section]:
    """Whole shards, or parts of them where there are fewer shards than workers."""
    parts = -(-max(workers, 1) // len(manifest.shards))
    row = 0
    for entry in manifest.shards:
        bounds = [entry.count * i // parts for i in range(parts + 1)]
        for first, after in pairwise(bounds):
            if first < after:
                yield Section(entry, first, after - first, row + first)
        row += entry.count
