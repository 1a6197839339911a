"""The labels of a whole set, read once and kept in this machine's scratch, for `stream`."""

import time
from functools import partial
from pathlib import Path

from gantrain.common.locks import exclusive_task, size_and_mtime
from gantrain.common.pools import map_in_order
from gantrain.data.loading.decode import facts_of_shard
from gantrain.data.loading.rows import RowFacts, Rows
from gantrain.data.shards.faults import Fault, FaultLog, ScratchError, os_reason
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.store import ShardStore

_WORTH_PROCESSES = 100_000  # labels below which processes start too slowly


def read_rows(store: ShardStore, manifest: Manifest, workers: int, log: FaultLog) -> Rows:
    """What is known of each image of a set, without decoding one.

    A remote set passes through this machine for it once. One process reads, the others wait.

    Raises UserError for what is broken unless `log` lets it pass, and if the scratch refuses.
    """
    folder = store.scratch / "rows" / f"{manifest.identity[:32]}-v1"
    began = time.time_ns()
    found = _load(folder, manifest)
    if found is None or found[1]:  # a set with faults may have been mended
        with exclusive_task(
            folder.with_name(folder.name + ".lock"),
            "read the labels",
            progress=lambda: [size_and_mtime(path) for path in _signs_of_life(store)],
            timeout=store.timeout,
        ):
            found = _load(folder, manifest)
            if found is None or (found[1] and size_and_mtime(folder / "rows.json")[1] < began):
                found = _read(folder, store, manifest, workers, log)
    rows, faults = found
    log.add(faults)
    return rows


def _signs_of_life(store: ShardStore) -> list[Path]:
    return sorted([*(store.scratch / "indexes").glob("*"), *(store.scratch / "shards").glob("*")])


def _load(folder: Path, manifest: Manifest) -> tuple[Rows, tuple[Fault, ...]] | None:
    try:
        return Rows.load(folder, manifest.count)
    except (OSError, ValueError):
        return None


def _read(
    folder: Path, store: ShardStore, manifest: Manifest, workers: int, log: FaultLog
) -> tuple[Rows, tuple[Fault, ...]]:
    if manifest.count < _WORTH_PROCESSES and not store.remote:
        workers = 1
    facts: list[RowFacts] = []
    faults: list[Fault] = []
    task = partial(facts_of_shard, store)
    for found in map_in_order(task, manifest.shards, workers=max(workers, 1)):
        log.add(found.faults)
        facts += found.facts
        faults += found.faults
    rows = Rows.of(facts)
    try:
        rows.save(folder, faults)
    except OSError as error:
        raise ScratchError(
            f"{folder}: the labels cannot be written ({os_reason(error)}). Free some space, or "
            "choose another data.cache_dir."
        ) from None
    return rows, tuple(faults)
