"""The endless sequence of pictures: which one comes at which position.

Position p is the (p mod N)-th of the p // N-th epoch, and each epoch goes through all N pictures
once. Nothing but the seed decides the order: no rank, worker or interruption.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gantrain.common.rng import Positions, Purpose, mixed_seed

Indexes = NDArray[np.int64]


@dataclass(frozen=True)
class FullShuffle:
    """Each epoch is a permutation of all `total` pictures, every one as likely as any other."""

    total: int

    def at(self, positions: Positions) -> Indexes:
        """Which of 0 ... total - 1 come at the positions, int64 of shape (positions.count,)."""
        wanted = np.arange(positions.start, positions.start + positions.count)
        found = np.empty_like(wanted)
        for epoch in range(wanted[0] // self.total, wanted[-1] // self.total + 1):
            inside = wanted // self.total == epoch
            order = epoch_order(positions.seed, int(epoch), self.total)
            found[inside] = order[wanted[inside] % self.total]
        return found


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, total: int) -> Indexes:
    """The permutation of 0 ... total - 1 in which an epoch goes through the pictures."""
    generator = np.random.default_rng(mixed_seed(seed, Purpose.ORDER, epoch))
    return generator.permutation(total)


class WindowShuffle:
    """Each epoch goes through the shards in an order of its own, and mixes the pictures of
    `window` consecutive places with one another: so few shards are in use at a time.

    counts: int64 (shards,), pictures of each shard; 0 leaves a shard out.
    """

    def __init__(self, counts: Indexes, window: int) -> None:
        self.counts = counts
        self.window = window
        self.total = int(counts.sum())
        self._shards = lru_cache(maxsize=2)(self._shard_order)
        self._places = lru_cache(maxsize=4)(self._window_order)

    def __reduce__(self) -> tuple[type["WindowShuffle"], tuple[Indexes, int]]:
        return WindowShuffle, (self.counts, self.window)

    def at(self, positions: Positions) -> tuple[Indexes, Indexes]:
        """The shards of the pictures at the positions and the pictures' numbers in them: two int64
        of shape (positions.count,)."""
        shards = np.empty(positions.count, np.int64)
        numbers = np.empty(positions.count, np.int64)
        done = 0
        while done < positions.count:
            epoch, offset = divmod(positions.start + done, self.total)
            window, inside = divmod(offset, self.window)
            places = self._places(positions.seed, epoch, window)
            taken = places[inside : inside + positions.count - done]
            here = slice(done, done + len(taken))
            shards[here], numbers[here] = self._locate(positions.seed, epoch, taken)
            done += len(taken)
        return shards, numbers

    def shards_after(self, positions: Positions) -> Indexes:
        """The shards of the window that follows the positions' last one."""
        epoch, offset = divmod(positions.start + positions.count - 1, self.total)
        window = offset // self.window + 1
        if window * self.window >= self.total:
            epoch, window = epoch + 1, 0
        places = self._places(positions.seed, epoch, window)
        return np.unique(self._locate(positions.seed, epoch, places)[0])

    def _locate(self, seed: int, epoch: int, places: Indexes) -> tuple[Indexes, Indexes]:
        order, ends = self._shards(seed, epoch)
        turn = np.searchsorted(ends, places, side="right")
        return order[turn], places - (ends[turn] - self.counts[order[turn]])

    def _shard_order(self, seed: int, epoch: int) -> tuple[Indexes, Indexes]:
        generator = np.random.default_rng(mixed_seed(seed, Purpose.ORDER, epoch))
        order = generator.permutation(len(self.counts))
        return order, np.cumsum(self.counts[order])

    def _window_order(self, seed: int, epoch: int, window: int) -> Indexes:
        generator = np.random.default_rng(mixed_seed(seed, Purpose.WINDOW_ORDER, epoch, window))
        first = window * self.window
        return first + generator.permutation(min(self.window, self.total - first))
