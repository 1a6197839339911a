"""The training images that are nearest to given ones: has the generator learnt them by heart?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BLOCKS = 8  # block means a side, by which images are held apart before they are compared
_AT_ONCE = 2048  # images

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Nearest:
    """For each query its nearest images, from the nearest on.

    rows: int64 (Q, K), rows of the images searched.
    distances: float64 (Q, K), in grey levels from 0 to 255, or in the features' units.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]


class PixelSearch:
    """Searches by mean absolute difference, as the book's chapter on GANs does. Exact.

    The mean difference of two images is never less than that of their block means: an image
    whose block means are further away than the k-th best found so far need not be looked at.
    """

    def __init__(self, images: Bytes) -> None:
        """images: uint8 (N, C, S, S); may be mapped from a file."""
        self._images = images
        self._means = _block_means(images)

    def find(self, queries: Bytes, count: int) -> Nearest:
        """The nearest `count` images to each of uint8 (Q, C, S, S)."""
        count = min(count, len(self._images))
        wanted = torch.from_numpy(_block_means(queries))
        means = torch.from_numpy(self._means)
        bounds = torch.cdist(wanted, means, p=1.0).numpy() / means.shape[1]
        found = [self._find_one(q, b, count) for q, b in zip(queries, bounds, strict=True)]
        return Nearest(np.stack([rows for rows, _ in found]), np.stack([d for _, d in found]))

    def _find_one(
        self, query: Bytes, bounds: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        order = np.argsort(bounds, kind="stable")
        rows = np.zeros(0, np.int64)
        distances = np.zeros(0)
        start, batch = 0, max(64, 4 * count)
        while start < len(order):
            bar = distances[count - 1] if len(distances) >= count else np.inf
            chunk = order[start : start + batch]
            # A rounding error of float32 must not shut out an equal one.
            chunk = chunk[bounds[chunk] <= bar + 1e-3]
            if not len(chunk):
                break
            rows = np.concatenate([rows, chunk])
            distances = np.concatenate([distances, _difference(self._images[chunk], query)])
            best = np.lexsort((rows, distances))[:count]
            rows, distances = rows[best], distances[best]
            start, batch = start + batch, min(batch * 2, _AT_ONCE)
        return rows, distances


def nearest_by_features(images: Tensor, queries: Tensor, describe: Any, count: int) -> Nearest:
    """The same by Euclidean distance of features.

    images, queries: uint8 (N, C, S, S). describe: them to (N, D) and anything else.
    """
    known = torch.cat([describe(part)[0].float().cpu() for part in torch.split(images, _AT_ONCE)])
    distances = torch.cdist(describe(queries)[0].float().cpu(), known)
    values, rows = distances.topk(min(count, len(known)), dim=1, largest=False)
    return Nearest(rows.numpy(), values.double().numpy())


def _difference(images: Bytes, query: Bytes) -> NDArray[np.float64]:
    # Of two bytes the difference, without a wider type in which it would be signed.
    gap = np.maximum(images, query) - np.minimum(images, query)
    total = torch.from_numpy(gap.reshape(len(images), -1)).sum(1, dtype=torch.int32)
    return total.numpy() / query.size


def _block_means(images: Bytes) -> NDArray[np.float32]:
    """uint8 (N, C, S, S) to float32 (N, C * 64), the means of 8x8 blocks of equal size."""
    count, channels, size, _ = images.shape
    side = size // _BLOCKS
    means = np.empty((count, channels, _BLOCKS, _BLOCKS), np.float32)
    for start in range(0, count, _AT_ONCE):
        part = images[start : start + _AT_ONCE]
        # Rows first: whole rows are added as wide vectors of 16 bits.
        rows = part.reshape(len(part), channels, _BLOCKS, side, size).sum(3, dtype=np.uint16)
        blocks = rows.reshape(len(part), channels, _BLOCKS, _BLOCKS, side).sum(4, dtype=np.uint32)
        means[start : start + _AT_ONCE] = blocks / np.float32(side * side)
    return means.reshape(count, -1)
