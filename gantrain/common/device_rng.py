"""The random numbers of `gantrain.common.rng`, drawn on a GPU: the same numbers, without copies.

Philox is a function of its counter, so that a kernel computes each number by itself, from a
position that the GPU reads when the kernel runs. So a CUDA graph that has drawn the numbers of one
batch draws those of another once the position is another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
import torch
from torch import Tensor

from gantrain.common.rng import BLOCK, PositionalRNG, Stream, philox_key, to_unit_interval

# Philox4x64-10 (Salmon et al. 2011, section 3.3) as NumPy counts: the n-th block is that of counter
# n + 1. Element e of the result is the upper 53 bits of number e of the blocks that follow
# `position * blocks`. torch reads the name of the function up to the last greater-than sign, of
# which there must be no other.
PHILOX_CODE = """
template <typename T> T philox4x64(T element, T position, T blocks, T key0, T key1) {
  typedef unsigned long long word;
  word c0 = (word)position * (word)blocks + (word)element / 4 + 1, c1 = 0, c2 = 0, c3 = 0;
  word k0 = (word)key0, k1 = (word)key1;
  for (int i = 0; i < 10; i++) {
    word low0 = 0xD2E7470EE14C6C93ULL * c0, high0 = __umul64hi(0xD2E7470EE14C6C93ULL, c0);
    word low2 = 0xCA5A826395121157ULL * c2, high2 = __umul64hi(0xCA5A826395121157ULL, c2);
    c0 = high2 ^ c1 ^ k0;
    c1 = low2;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B97F4A7C15ULL;
    k1 += 0xBB67AE8584CAA73BULL;
  }
  word lane = (word)element % 4;
  word number = lane == 0 ? c0 : lane == 1 ? c1 : lane == 2 ? c2 : c3;
  return (T)(number / 2048);
}
"""


@dataclass(frozen=True)
class DeviceRNG(PositionalRNG):
    """A PositionalRNG whose numbers are drawn on the device, at the position that lies there.

    start: where `position` was when this was made; the numbers do not depend on it.
    position: int64 scalar on the device.
    reseeds: for what torch was to be seeded in a graph that is being captured, in which it cannot
        be; None: it is seeded at once.
    """

    position: Tensor
    reseeds: list[Stream] | None = None

    def uniform(self, stream: Stream, width: int) -> Tensor:
        """Uniform numbers in (0, 1), float64 (count, width), on the device."""
        blocks = -(-width // BLOCK)
        bits = philox_bits(
            self.position, blocks, self.count * blocks * BLOCK, *philox_key(self.seed, stream)
        )
        return to_unit_interval(bits.double()).view(self.count, blocks * BLOCK)[:, :width]

    def seed_torch(self, stream: Stream, device: torch.device) -> None:
        if self.reseeds is None:
            super().seed_torch(stream, device)
        else:
            self.reseeds.append(stream)

    def split(self, count: int) -> list[PositionalRNG]:
        """Return itself: there is one position on the device. Raises ValueError for more."""
        if count != 1:
            raise ValueError(f"a DeviceRNG cannot be split into {count}")
        return [self]


def philox_bits(position: Tensor, blocks: int, count: int, key0: int, key1: int) -> Tensor:
    """Return the upper 53 bits of `count` numbers from block position * blocks on, int64.

    position: int64 scalar on a GPU, where the result is.
    """
    device = position.device
    numbers = (_scalar(blocks, device), _scalar(key0, device), _scalar(key1, device))
    return _kernel()(_elements(count, device), position, *numbers)


def agrees_with_host(device: torch.device) -> bool:
    """Return whether the GPU can draw the numbers of the host. Waits for it."""
    start = 2**33 + 7  # beyond 32 bits
    host = PositionalRNG(1, start, 5)
    there = DeviceRNG(1, start, 5, torch.full((), start, dtype=torch.int64, device=device))
    try:
        drawn = there.uniform(Stream.LABELS, 6).cpu()
    except RuntimeError:  # without a compiler of kernels
        return False
    return torch.equal(drawn, host.uniform(Stream.LABELS, 6))


@cache
def _kernel() -> Callable[..., Tensor]:
    import torch.cuda.jiterator  # its compiler, NVRTC, comes with torch

    create = torch.cuda.jiterator._create_jit_fn
    return cast(Callable[..., Tensor], create(PHILOX_CODE))


# Kept for good: a graph reads them where they are.
@cache
def _elements(count: int, device: torch.device) -> Tensor:
    return torch.arange(count, device=device)


@cache
def _scalar(value: int, device: torch.device) -> Tensor:
    return torch.full((), np.uint64(value).astype(np.int64).item(), device=device)
