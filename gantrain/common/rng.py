"""Random numbers by position: each is a function of (seed, purpose, image position) alone.

A counter-based generator (Philox, Salmon et al. 2011) is read at any place in O(1). So what a run
draws does not depend on how many ranks share a batch or how often the run was interrupted.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

_BLOCK = 4  # numbers that Philox4x64 makes from one counter value


class Purpose(IntEnum):
    """What a draw is for; each has a sequence of its own. The values are part of every run."""

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


@dataclass(frozen=True)
class Positions:
    """A run of consecutive image positions: `count` of them from `start` on."""

    seed: int
    start: int
    count: int

    def chunk(self, parts: int) -> list["Positions"]:
        """As many equal runs, in order; `parts` divides `count`."""
        size = self.count // parts
        return [Positions(self.seed, self.start + i * size, size) for i in range(parts)]


def mixed_seed(seed: int, purpose: Purpose, *places: int) -> int:
    """A 63-bit seed for a generator of another library, from whatever distinguishes this use."""
    sequence = np.random.SeedSequence((seed, int(purpose), *places))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_torch(device: torch.device, seed: int, purpose: Purpose, *places: int) -> None:
    """Give the generators that dropout on `device` draws from a `mixed_seed`."""
    mixed = mixed_seed(seed, purpose, *places)
    # torch.manual_seed looks for every kind of accelerator, which takes half a millisecond.
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        torch.cuda.manual_seed(mixed)


def draw_uniform(at: Positions, purpose: Purpose, width: int) -> Tensor:
    """Numbers evenly distributed in (0, 1), float64 of shape (at.count, width), on the CPU."""
    blocks = -(-width // _BLOCK)
    key = np.random.SeedSequence((at.seed, int(purpose))).generate_state(2, np.uint64)
    bits = np.random.Philox(key=key, counter=at.start * blocks).random_raw(
        at.count * blocks * _BLOCK
    )
    # The middles of 2^53 equal steps: never 0 or 1, where a normal quantile would be infinite.
    numbers = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return torch.from_numpy(numbers.reshape(at.count, blocks * _BLOCK)[:, :width])


def draw_normal(at: Positions, purpose: Purpose, width: int) -> Tensor:
    """Standard normal numbers, float32 of shape (at.count, width), on the CPU."""
    normal: Tensor = torch.special.ndtri(draw_uniform(at, purpose, width))
    return normal.float()
