"""The endless sequence of images: which one comes at which position.

Position p is the (p mod N)-th of the p // N-th epoch, and each epoch goes through all N images
once. Nothing but the seed decides the order: no rank, worker or interruption.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gantrain.common.rng import PositionalRNG, Stream, derive_seed

Indexes = NDArray[np.int64]


@dataclass(frozen=True)
class FullShuffle:
    """Each epoch is a permutation of all `total` images, every one as likely as any other."""

    total: int

    def indices(self, rng: PositionalRNG) -> Indexes:
        """The images at the positions, int64 (rng.count,), each in [0, total)."""
        wanted = np.arange(rng.start, rng.start + rng.count)
        found = np.empty_like(wanted)
        for epoch in range(wanted[0] // self.total, wanted[-1] // self.total + 1):
            inside = wanted // self.total == epoch
            order = epoch_order(rng.seed, int(epoch), self.total)
            found[inside] = order[wanted[inside] % self.total]
        return found


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, total: int) -> Indexes:
    """The permutation of 0 ... total - 1 in which an epoch goes through the images."""
    generator = np.random.default_rng(derive_seed(seed, Stream.ORDER, epoch))
    return generator.permutation(total)


class WindowShuffle:
    """Each epoch goes through the shards in an order of its own, and mixes the images of
    `window` consecutive places with one another: so few shards are in use at a time.

    counts: int64 (shards,), images of each shard; 0 leaves a shard out.
    """

    def __init__(self, counts: Indexes, window: int) -> None:
        self.counts = counts
        self.window = window
        self.total = int(counts.sum())
        self._shards = lru_cache(maxsize=2)(self._shard_order)
        self._places = lru_cache(maxsize=4)(self._window_order)

    def __reduce__(self) -> tuple[type["WindowShuffle"], tuple[Indexes, int]]:
        return WindowShuffle, (self.counts, self.window)

    def indices(self, rng: PositionalRNG) -> tuple[Indexes, Indexes]:
        """The shard of each image at the positions and its number in the shard: two int64
        (rng.count,)."""
        shards = np.empty(rng.count, np.int64)
        numbers = np.empty(rng.count, np.int64)
        done = 0
        while done < rng.count:
            epoch, offset = divmod(rng.start + done, self.total)
            window, inside = divmod(offset, self.window)
            places = self._places(rng.seed, epoch, window)
            taken = places[inside : inside + rng.count - done]
            here = slice(done, done + len(taken))
            shards[here], numbers[here] = self._locate(rng.seed, epoch, taken)
            done += len(taken)
        return shards, numbers

    def shards_after(self, rng: PositionalRNG) -> Indexes:
        """The shards of the window that follows the positions' last one."""
        epoch, offset = divmod(rng.start + rng.count - 1, self.total)
        window = offset // self.window + 1
        if window * self.window >= self.total:
            epoch, window = epoch + 1, 0
        places = self._places(rng.seed, epoch, window)
        return np.unique(self._locate(rng.seed, epoch, places)[0])

    def _locate(self, seed: int, epoch: int, places: Indexes) -> tuple[Indexes, Indexes]:
        order, ends = self._shards(seed, epoch)
        turn = np.searchsorted(ends, places, side="right")
        return order[turn], places - (ends[turn] - self.counts[order[turn]])

    def _shard_order(self, seed: int, epoch: int) -> tuple[Indexes, Indexes]:
        generator = np.random.default_rng(derive_seed(seed, Stream.ORDER, epoch))
        order = generator.permutation(len(self.counts))
        return order, np.cumsum(self.counts[order])

    def _window_order(self, seed: int, epoch: int, window: int) -> Indexes:
        generator = np.random.default_rng(derive_seed(seed, Stream.WINDOW_ORDER, epoch, window))
        first = window * self.window
        return first + generator.permutation(min(self.window, self.total - first))
