"""The images of a run's data set with all of their labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.pools import usable_cores
from gantrain.config import DataConfig
from gantrain.data.loading.cache import Cache, open_cache
from gantrain.data.loading.scratch import scratch_folder
from gantrain.data.loading.selection import training_rows
from gantrain.data.shards.faults import FaultLog
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.samples import Label
from gantrain.data.shards.store import ShardStore


@dataclass(frozen=True)
class LabelledDataset:
    """The images that a run trained on.

    cache: the decoded images of the whole set.
    rows: int64 (M,), those trained on, ascending.
    """

    store: ShardStore
    manifest: Manifest
    cache: Cache
    rows: NDArray[np.int64]

    @property
    def images(self) -> Tensor:
        """uint8 (N, C, S, S) of the whole set, mapped from the file; to be read only."""
        return self.cache.images

    def labels(self, rows: NDArray[np.int64]) -> list[Label]:
        """The labels of these rows, in their order. Raises UserError if one cannot be read."""
        starts = np.cumsum([0, *(entry.count for entry in self.manifest.shards)])
        found: list[Label] = [{} for _ in rows]
        shard_of = np.searchsorted(starts, rows, side="right") - 1
        for shard in np.unique(shard_of):
            reader = self.store.open(self.manifest.shards[shard])
            try:
                for place in np.flatnonzero(shard_of == shard):
                    found[place] = reader.label(int(rows[place] - starts[shard]))
            finally:
                reader.close()
        return found

    def key(self, row: int) -> str:
        """The name of an image in its shard, such as `3001-L-0007`."""
        starts = np.cumsum([0, *(entry.count for entry in self.manifest.shards)])
        shard = int(np.searchsorted(starts, row, side="right") - 1)
        reader = self.store.open(self.manifest.shards[shard])
        try:
            return reader.where(int(row - starts[shard])).rsplit(" ", 1)[-1].removesuffix(".png")
        finally:
            reader.close()


def open_labelled_dataset(config: DataConfig) -> LabelledDataset:
    """Decode the set of a config once, or find it decoded; what is broken in it is left out.

    Raises UserError if it is missing or empty.
    """
    store = ShardStore(
        location=config.shards,
        scratch=scratch_folder(config),
        limit=int(config.shard_cache_gb * 1e9),
        timeout=config.timeout_s,
        retries=config.retries,
    )
    manifest = store.manifest()
    for key in ("size", "channels"):
        if getattr(config, key) != getattr(manifest, key):
            raise UserError(
                f"{config.shards}: {key} is {getattr(manifest, key)}; expected "
                f"{getattr(config, key)}, as the run has; give the set that it trained on."
            )
    cache = open_cache(store, manifest, usable_cores(), FaultLog("skip"))
    return LabelledDataset(store, manifest, cache, training_rows(cache.rows, config))
