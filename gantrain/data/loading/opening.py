"""Opens the dataset of a config, through the cache or as a stream."""

import os
from pathlib import Path

import numpy as np

from gantrain.common.errors import UserError
from gantrain.common.pools import usable_cores
from gantrain.config import ConditioningConfig, DataConfig
from gantrain.config.values import is_trainable
from gantrain.data.loading.cache import cache_folder, decoded_bytes, open_cache
from gantrain.data.loading.datasets import CachedImageDataset, ImageDataset, StreamedImageDataset
from gantrain.data.loading.decoder_processes import decoder_context
from gantrain.data.loading.label_scan import scan_labels
from gantrain.data.loading.order import Indices, WindowShuffle
from gantrain.data.loading.scratch import free_disk, free_memory, open_store
from gantrain.data.loading.selection import (
    NO_CONDITIONING,
    class_indices,
    class_names_of,
    needs_labels,
    training_rows,
)
from gantrain.data.loading.stream import ShardStream
from gantrain.data.shards.faults import Fault, FaultLog
from gantrain.data.shards.manifest import Manifest, find_file_problems, load_manifest, read_manifest
from gantrain.data.shards.store import ShardStore

# `auto` chooses the cache if it takes at most these fractions of the scratch's free space and of
# the free memory. Images that are not in memory are read from disk in random order.
_DISK_FRACTION = 0.8
_MEMORY_FRACTION = 0.5


def open_dataset(
    config: DataConfig, conditioning: ConditioningConfig = NO_CONDITIONING
) -> ImageDataset:
    """Open the images to train on, in the mode that `config.mode` selects.

    conditioning: whether their classes are needed.

    Raises UserError if the set is missing, broken or empty, has images of another shape than the
    config, lacks classes that are needed, or the scratch cannot be used.
    """
    if isinstance(config.shards, Path) and not config.shards.exists():
        raise UserError(
            f"{config.shards}: no such folder. If the set has moved, give its place with "
            "data.shards=FOLDER; otherwise make one with `gantrain data render` or `gantrain data "
            "import`."
        )
    store = open_store(config)
    manifest = store.manifest()
    check_image_shape(config, manifest)
    log = FaultLog(config.on_error, manifest.repair)
    complete = _check_files(config, log)
    mode, reason = _choose_mode(config, manifest, store)
    if mode == "cache":
        return _open_cached(config, conditioning, store, manifest, log, reason)
    return _open_streamed(config, conditioning, store, manifest, log, complete, reason)


def check_image_shape(config: DataConfig, manifest: Manifest) -> None:
    """Raise UserError unless the set's images have the config's size and channels."""
    for key in ("size", "channels"):
        expected, actual = getattr(config, key), getattr(manifest, key)
        if expected != actual:
            advice = f"Choose a matching set, or train with data.{key}={actual}."
            if key == "size" and not is_trainable(actual):
                advice = f"No network has this size; write the set again with --size {expected}."
            raise UserError(
                f"{config.shards}: the images have {key} {actual}; expected {expected}, as "
                f"data.{key} states. {advice}"
            )


def _open_cached(
    config: DataConfig,
    conditioning: ConditioningConfig,
    store: ShardStore,
    manifest: Manifest,
    log: FaultLog,
    reason: str,
) -> CachedImageDataset:
    class_names = class_names_of(manifest, config, conditioning)
    workers = usable_cores() if config.workers is None else config.workers
    cache = open_cache(store, manifest, workers, log)
    rows = training_rows(cache.table, config, conditioning)
    description = f"{len(rows):,} images, decoded in {store.scratch} ({reason})"
    return CachedImageDataset(
        cache=cache,
        rows=rows,
        log=log,
        device_share=config.device_share,
        description=description,
        manifest=manifest,
        class_names=class_names,
        class_index=class_indices(cache.table, class_names),
    )


def _open_streamed(
    config: DataConfig,
    conditioning: ConditioningConfig,
    store: ShardStore,
    manifest: Manifest,
    log: FaultLog,
    complete: bool,
    reason: str,
) -> StreamedImageDataset:
    class_names = class_names_of(manifest, config, conditioning)
    workers = config.workers
    if workers is None:
        workers = max(usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 1)
    if workers:
        decoder_context()  # before anything else starts a fork server, without blocked signals
    counts = np.array([entry.count for entry in manifest.shards])
    selected = classes = None
    if not complete or conditioning.active or needs_labels(config, manifest):
        table = scan_labels(store, manifest, workers, log)
        selected = _rows_per_shard(training_rows(table, config, conditioning), counts)
        of_each = class_indices(table, class_names)
        if of_each is not None:
            classes = tuple(np.split(of_each, np.cumsum(counts)[:-1]))
        counts = np.array([len(indices) for indices in selected])
    order = WindowShuffle(counts, config.shuffle_buffer)
    stream = ShardStream(store, manifest.shards, manifest.target, selected, order, classes)
    description = f"{order.total:,} images, streamed by {workers} worker(s) per rank ({reason})"
    return StreamedImageDataset(stream, workers, log, description, manifest, class_names)


def _rows_per_shard(rows: Indices, counts: Indices) -> tuple[Indices, ...]:
    """Return, for each shard, which of its images are among the ascending `rows` of the set."""
    ends = np.cumsum(counts)
    starts = ends - counts
    bounds = np.searchsorted(rows, [*starts, ends[-1]])
    return tuple(
        rows[first:end] - start
        for first, end, start in zip(bounds, bounds[1:], starts, strict=False)
    )


def _check_files(config: DataConfig, log: FaultLog) -> bool:
    """Return whether all shards of a local set exist with the right length; log unknown ones.

    A remote set counts as complete: its faults appear when its shards are fetched.
    Raises UserError for the first problem if faults are not skipped.
    """
    if not isinstance(config.shards, Path):
        return True
    if config.on_error == "fail":
        read_manifest(config.shards)
        return True
    manifest = load_manifest(config.shards)
    problems = find_file_problems(config.shards, manifest)
    known = {entry.name for entry in manifest.shards}
    for name in problems.keys() - known:
        log.add([Fault(str(config.shards / name), "a shard that is not in the manifest", 0)])
    return not problems.keys() & known


def _choose_mode(config: DataConfig, manifest: Manifest, store: ShardStore) -> tuple[str, str]:
    """Return "cache" or "stream", and the reason for display."""
    if config.mode != "auto":
        return config.mode, f"data.mode={config.mode}"
    needed = decoded_bytes(manifest)
    size = f"{needed / 1e6:,.0f} MB decoded"
    if cache_folder(store.scratch, manifest).exists():
        return "cache", f"{size}, cached already"
    for free, fraction, resource in (
        (free_disk(store.scratch), _DISK_FRACTION, f"free in {store.scratch}"),
        (free_memory(), _MEMORY_FRACTION, "of free memory"),
    ):
        if needed > fraction * free:
            return (
                "stream",
                f"{size}, more than {fraction:.0%} of the {free / 1e6:,.0f} MB {resource}",
            )
    return "cache", f"{size}, which fits"
