"""The images that a run was trained on, together with their labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gantrain.common.pools import usable_cores
from gantrain.config import DataConfig
from gantrain.data.loading.cache import Cache, open_cache
from gantrain.data.loading.opening import check_image_shape
from gantrain.data.loading.scratch import open_store
from gantrain.data.loading.selection import training_rows
from gantrain.data.shards.faults import FaultLog
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.samples import Label
from gantrain.data.shards.store import ShardStore


@dataclass(frozen=True)
class LabelledDataset:
    """The images that a run was trained on.

    cache: the decoded images of the whole set.
    rows: int64 (M,), rows of the training images in the set, ascending.
    """

    store: ShardStore
    manifest: Manifest
    cache: Cache
    rows: NDArray[np.int64]

    @property
    def images(self) -> Tensor:
        """uint8 (N, C, S, S) of the whole set, mapped from the file; read-only."""
        return self.cache.images

    def labels(self, rows: NDArray[np.int64]) -> list[Label]:
        """Return the labels of these rows, in the same order.

        Raises UserError if one of them cannot be read.
        """
        labels: list[Label] = [{} for _ in rows]
        shards, indices = self._locate(rows)
        for shard in np.unique(shards):
            reader = self.store.open(self.manifest.shards[shard])
            try:
                for i in np.flatnonzero(shards == shard):
                    labels[i] = reader.label(int(indices[i]))
            finally:
                reader.close()
        return labels

    def key(self, row: int) -> str:
        """Return the key of an image in its shard, such as `3001-L-0007`."""
        shards, indices = self._locate(np.array([row]))
        reader = self.store.open(self.manifest.shards[shards[0]])
        try:
            return reader.key(int(indices[0]))
        finally:
            reader.close()

    def _locate(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return shard and index in the shard of each row, both int64 (len(rows),)."""
        starts = np.cumsum([0, *(entry.count for entry in self.manifest.shards)])
        shards = np.searchsorted(starts, rows, side="right") - 1
        return shards, rows - starts[shards]


def open_labelled_dataset(config: DataConfig) -> LabelledDataset:
    """Open the set of a config through the cache; decode it if necessary. Skips broken images.

    Raises UserError if the set is missing, has images of another shape, or has none to train on.
    """
    store = open_store(config)
    manifest = store.manifest()
    check_image_shape(config, manifest)
    cache = open_cache(store, manifest, usable_cores(), FaultLog("skip"))
    return LabelledDataset(store, manifest, cache, training_rows(cache.table, config))
