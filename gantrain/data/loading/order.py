"""The endless sequence of training images: which image is at which position.

Position p is number p mod N of epoch p // N, and each epoch visits all N images once. The order
depends on the seed alone, not on ranks, workers or interruptions (elastic determinism).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gantrain.common.rng import PositionalRNG, Stream, derive_seed

Indices = NDArray[np.int64]


def local_rngs(first: PositionalRNG, stride: int) -> Iterator[PositionalRNG]:
    """Yield RNGs of equal length, endlessly: `first`, then one every `stride` positions.

    With `first` over a rank's positions in the first global batch and the global batch size as
    `stride`, these are the rank's positions in every global batch.
    """
    start = first.start
    while True:
        yield PositionalRNG(first.seed, start, first.count)
        start += stride


@dataclass(frozen=True)
class FullShuffle:
    """Each epoch is a uniformly random permutation of all `total` images."""

    total: int

    def indices(self, rng: PositionalRNG) -> Indices:
        """Return the images at the positions: int64 (rng.count,), each in [0, total)."""
        chunks = []
        position, end = rng.start, rng.start + rng.count
        while position < end:
            epoch, offset = divmod(position, self.total)
            order = epoch_order(rng.seed, epoch, self.total)
            chunks.append(order[offset : offset + end - position])
            position += len(chunks[-1])
        return np.concatenate(chunks)


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, total: int) -> Indices:
    """Return an epoch's permutation of 0 … total - 1, int64 (total,)."""
    generator = np.random.default_rng(derive_seed(seed, Stream.ORDER, epoch))
    return generator.permutation(total)


class WindowShuffle:
    """Each epoch shuffles the shards, then the images within windows of the resulting sequence.

    Only the few shards that a window spans are in use at a time.

    counts: int64 (shards,), number of images of each shard; may be 0.
    window: number of consecutive images that are shuffled together.
    """

    def __init__(self, counts: Indices, window: int) -> None:
        self.counts = counts
        self.window = window
        self.total = int(counts.sum())
        self._shard_order = lru_cache(maxsize=2)(self._shuffle_shards)
        self._window_order = lru_cache(maxsize=4)(self._shuffle_window)

    def __reduce__(self) -> tuple[type["WindowShuffle"], tuple[Indices, int]]:
        return WindowShuffle, (self.counts, self.window)  # the caches cannot be pickled

    def indices(self, rng: PositionalRNG) -> tuple[Indices, Indices]:
        """Return the image at each position as (shard, index in the shard), both int64
        (rng.count,)."""
        shards = np.empty(rng.count, np.int64)
        indices = np.empty(rng.count, np.int64)
        done = 0
        while done < rng.count:
            epoch, offset = divmod(rng.start + done, self.total)
            window, start = divmod(offset, self.window)
            order = self._window_order(rng.seed, epoch, window)
            chunk = order[start : start + rng.count - done]
            filled = slice(done, done + len(chunk))
            shards[filled], indices[filled] = self._locate(rng.seed, epoch, chunk)
            done += len(chunk)
        return shards, indices

    def shards_after(self, rng: PositionalRNG) -> Indices:
        """Return the shards of the window after the one that contains the last position."""
        epoch, offset = divmod(rng.start + rng.count - 1, self.total)
        window = offset // self.window + 1
        if window * self.window >= self.total:
            epoch, window = epoch + 1, 0
        order = self._window_order(rng.seed, epoch, window)
        return np.unique(self._locate(rng.seed, epoch, order)[0])

    def _locate(self, seed: int, epoch: int, offsets: Indices) -> tuple[Indices, Indices]:
        """Return shard and index in the shard for offsets into an epoch's shuffled shards."""
        order, ends = self._shard_order(seed, epoch)
        turn = np.searchsorted(ends, offsets, side="right")
        return order[turn], offsets - (ends[turn] - self.counts[order[turn]])

    def _shuffle_shards(self, seed: int, epoch: int) -> tuple[Indices, Indices]:
        generator = np.random.default_rng(derive_seed(seed, Stream.ORDER, epoch))
        order = generator.permutation(len(self.counts))
        return order, np.cumsum(self.counts[order])

    def _shuffle_window(self, seed: int, epoch: int, window: int) -> Indices:
        generator = np.random.default_rng(derive_seed(seed, Stream.WINDOW_ORDER, epoch, window))
        first = window * self.window
        return first + generator.permutation(min(self.window, self.total - first))
