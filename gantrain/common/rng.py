"""Random numbers by position: each is a function of (seed, stream, image position) alone.

A counter-based generator (Philox, Salmon et al. 2011) is read at any position in O(1). So the
numbers of a run do not depend on how many ranks share a batch, or on how often the run was
interrupted. Elastic determinism rests on this.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

BLOCK = 4  # numbers that Philox4x64 makes from one counter value


class Stream(IntEnum):
    """What random numbers are for; each stream is independent of the others.

    The values are part of every run: never reuse or renumber one.
    """

    WEIGHTS = 0
    ORDER = 1
    D_LATENTS = 2
    G_LATENTS = 3
    GRID_LATENTS = 4
    LABELS = 5
    PENALTY = 6
    D_DROPOUT = 7
    G_DROPOUT = 8
    SAMPLES = 9
    FLIP = 10
    SHIFT = 11
    D_REAL_AUGMENT = 12
    D_FAKE_AUGMENT = 13
    G_AUGMENT = 14
    WINDOW_ORDER = 15
    SUBSET = 16
    METRICS = 17
    PATCHES = 18
    SLICES = 19
    CLASSIFIER = 20
    G_REAL_AUGMENT = 21
    TWO_SAMPLE_TEST = 22
    ARTEFACTS = 23
    HELD_OUT = 24
    NEW_CRITIC = 25
    D_CLASSES = 26
    G_CLASSES = 27
    METRICS_CLASSES = 29
    SAMPLE_CLASSES = 30


@dataclass(frozen=True)
class PositionalRNG:
    """The random numbers of `count` consecutive image positions, from `start` on.

    Drawing does not change its state: the same call gives the same numbers again.
    """

    seed: int
    start: int
    count: int

    def uniform(self, stream: Stream, width: int) -> Tensor:
        """Uniform numbers in the open interval (0, 1), float64 (count, width), on the CPU."""
        blocks = -(-width // BLOCK)
        key = np.array(philox_key(self.seed, stream), np.uint64)
        bits = np.random.Philox(key=key, counter=self.start * blocks).random_raw(
            self.count * blocks * BLOCK
        )
        numbers = torch.from_numpy((bits >> np.uint64(11)).astype(np.float64))
        return to_unit_interval(numbers).view(self.count, blocks * BLOCK)[:, :width]

    def normal(self, stream: Stream, width: int) -> Tensor:
        """Standard normal numbers, float32 (count, width), where the uniform ones are drawn."""
        numbers: Tensor = torch.special.ndtri(self.uniform(stream, width))
        return numbers.float()

    def seed_torch(self, stream: Stream, device: torch.device) -> None:
        """Seed the torch generators that dropout on `device` draws from."""
        derived = derive_seed(self.seed, stream, self.start)
        # torch.manual_seed looks for every kind of accelerator, which takes half a millisecond.
        torch.default_generator.manual_seed(derived)
        if device.type == "cuda":
            torch.cuda.manual_seed(derived)

    def split(self, count: int) -> list["PositionalRNG"]:
        """`count` RNGs over equal runs of the positions, in order; `count` divides `self.count`."""
        size = self.count // count
        return [PositionalRNG(self.seed, self.start + i * size, size) for i in range(count)]


@lru_cache(maxsize=256)
def philox_key(seed: int, stream: Stream) -> tuple[int, int]:
    """Return the key of a stream's generator, two words of 64 bits."""
    key0, key1 = np.random.SeedSequence((seed, int(stream))).generate_state(2, np.uint64).tolist()
    return key0, key1


def to_unit_interval(bits: Tensor) -> Tensor:
    """Turn whole numbers below 2^53, float64, into uniform numbers in (0, 1), in place.

    They are the middles of equal steps: never 0 or 1, where a normal quantile would be infinite.
    """
    return bits.add_(0.5).mul_(2.0**-53)


def derive_seed(seed: int, stream: Stream, *indices: int) -> int:
    """A 63-bit seed for another library's generator, from all that distinguishes this use."""
    sequence = np.random.SeedSequence((seed, int(stream), *indices))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
