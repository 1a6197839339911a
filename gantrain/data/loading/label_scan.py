"""The labels of a whole set for `stream`: read once without decoding images, kept in scratch."""

import time
from functools import partial
from pathlib import Path

from gantrain.common.errors import os_reason
from gantrain.common.locks import exclusive_task, size_and_mtime
from gantrain.common.pools import map_in_order
from gantrain.data.loading.decode import scan_shard
from gantrain.data.loading.image_table import TABLE_NAME, ImageInfo, ImageTable
from gantrain.data.shards.faults import Fault, FaultLog, ScratchError
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.store import ShardStore

_VERSION = 2  # of the table in the scratch
_MIN_LABELS_FOR_PROCESSES = 100_000  # with fewer, processes take longer to start than to read


def scan_labels(store: ShardStore, manifest: Manifest, workers: int, log: FaultLog) -> ImageTable:
    """Read the labels of a set, or load those that an earlier scan left in the scratch.

    Fetches each shard of a remote set once. One process of the machine scans, with `workers`
    worker processes; the others wait. If a scan found faults, each later run repeats it, since the
    set may have been repaired.

    Raises UserError for the first fault unless `log` skips faults, and if the scratch cannot be
    written.
    """
    folder = store.scratch / "labels" / f"{manifest.identity[:32]}-v{_VERSION}"
    start = time.time_ns()
    scanned = _load(folder, manifest)
    if scanned is None or scanned[1]:
        with exclusive_task(
            folder.with_name(folder.name + ".lock"),
            "read the labels",
            progress=lambda: [size_and_mtime(path) for path in _progress_files(store)],
            timeout=store.timeout,
        ):
            scanned = _load(folder, manifest)
            if scanned is None or (scanned[1] and size_and_mtime(folder / TABLE_NAME)[1] < start):
                scanned = _scan(folder, store, manifest, workers, log)
    table, faults = scanned
    log.add(faults)
    return table


def _progress_files(store: ShardStore) -> list[Path]:
    return sorted([*(store.scratch / "indexes").glob("*"), *(store.scratch / "shards").glob("*")])


def _load(folder: Path, manifest: Manifest) -> tuple[ImageTable, tuple[Fault, ...]] | None:
    try:
        return ImageTable.load(folder, manifest.count)
    except (OSError, ValueError):
        return None


def _scan(
    folder: Path, store: ShardStore, manifest: Manifest, workers: int, log: FaultLog
) -> tuple[ImageTable, tuple[Fault, ...]]:
    if manifest.count < _MIN_LABELS_FOR_PROCESSES and not store.remote:
        workers = 1
    infos: list[ImageInfo] = []
    faults: list[Fault] = []
    task = partial(scan_shard, store)
    for result in map_in_order(task, manifest.shards, workers=max(workers, 1)):
        log.add(result.faults)
        infos += result.infos
        faults += result.faults
    table = ImageTable.from_infos(infos)
    try:
        table.save(folder, faults)
    except OSError as error:
        raise ScratchError(
            f"{folder}: cannot write the labels: {os_reason(error)}. Free some space, or choose "
            "another data.cache_dir."
        ) from None
    return table, tuple(faults)
