"""Nearest training images of generated ones, which reveal a generator that memorises."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantrain.data.shards.duplicates import image_digest

_BLOCKS = 8  # blocks per side, whose means give a lower bound of a distance
_BATCH_SIZE = 2048  # images

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Nearest:
    """The nearest images of each query, nearest first.

    rows: int64 (Q, K), rows of the searched images.
    distances: float64 (Q, K), in grey levels from 0 to 255, or in units of the features.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]


def distinct_rows(images: Bytes, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of the rows whose image equals that of no row before it.

    images: uint8 (N, C, S, S); may be memory-mapped. rows: int64 (M,).
    """
    first: dict[bytes, np.int64] = {}
    for row in rows:
        first.setdefault(image_digest(images[row].tobytes()), row)
    return np.array(list(first.values()), np.int64)


class PixelSearch:
    """Exact search by mean absolute difference of pixels, the distance used in the book's chapter
    on GANs.

    The mean difference of two images is at least that of their block means. An image is skipped if
    its block means are further away than the k-th best distance so far.
    """

    def __init__(self, images: Bytes) -> None:
        """images: uint8 (N, C, S, S), S a multiple of 8; may be memory-mapped."""
        self._images = images
        self._means = _block_means(images)

    def find(self, queries: Bytes, count: int) -> Nearest:
        """Return the nearest `count` images, or all if there are fewer, of uint8 (Q, C, S, S)."""
        count = min(count, len(self._images))
        means = torch.from_numpy(self._means)
        query_means = torch.from_numpy(_block_means(queries))
        bounds = torch.cdist(query_means, means, p=1.0).numpy() / means.shape[1]
        results = [self._find_one(q, b, count) for q, b in zip(queries, bounds, strict=True)]
        return Nearest(np.stack([rows for rows, _ in results]), np.stack([d for _, d in results]))

    def _find_one(
        self, query: Bytes, bounds: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        order = np.argsort(bounds, kind="stable")
        rows = np.zeros(0, np.int64)
        distances = np.zeros(0)
        start, batch = 0, max(64, 4 * count)
        while start < len(order):
            worst = distances[count - 1] if len(distances) >= count else np.inf
            candidates = order[start : start + batch]
            # The margin keeps images whose bound exceeds their distance by a rounding error.
            candidates = candidates[bounds[candidates] <= worst + 1e-3]
            if not len(candidates):
                break
            rows = np.concatenate([rows, candidates])
            new = _mean_differences(self._images[candidates], query)
            distances = np.concatenate([distances, new])
            best = np.lexsort((rows, distances))[:count]
            rows, distances = rows[best], distances[best]
            start, batch = start + batch, min(batch * 2, _BATCH_SIZE)
        return rows, distances


def nearest_by_features(
    images: Tensor,
    queries: Tensor,
    extract: Callable[[Tensor], Tensor],
    count: int,
) -> Nearest:
    """Return the nearest `count` images of each query by Euclidean distance of features.

    images, queries: uint8 (N, C, S, S) and (Q, C, S, S).
    extract: returns the features (N, D) of images.
    """
    batches = torch.split(images, _BATCH_SIZE)
    features = torch.cat([extract(batch).float().cpu() for batch in batches])
    distances = torch.cdist(extract(queries).float().cpu(), features)
    values, rows = distances.topk(min(count, len(features)), dim=1, largest=False)
    return Nearest(rows.numpy(), values.double().numpy())


def _mean_differences(images: Bytes, query: Bytes) -> NDArray[np.float64]:
    # The absolute difference of unsigned bytes, without converting them to a wider signed type.
    difference = np.maximum(images, query) - np.minimum(images, query)
    total = torch.from_numpy(difference.reshape(len(images), -1)).sum(1, dtype=torch.int32)
    return total.numpy() / query.size


def _block_means(images: Bytes) -> NDArray[np.float32]:
    """Return the means of 8x8 blocks of equal size: uint8 (N, C, S, S) to float32 (N, C * 64)."""
    count, channels, size, _ = images.shape
    side = size // _BLOCKS
    means = np.empty((count, channels, _BLOCKS, _BLOCKS), np.float32)
    for start in range(0, count, _BATCH_SIZE):
        batch = images[start : start + _BATCH_SIZE]
        # Summing over rows first vectorises well: whole rows are added in 16 bits.
        rows = batch.reshape(len(batch), channels, _BLOCKS, side, size).sum(3, dtype=np.uint16)
        blocks = rows.reshape(len(batch), channels, _BLOCKS, _BLOCKS, side).sum(4, dtype=np.uint32)
        means[start : start + _BATCH_SIZE] = blocks / np.float32(side * side)
    return means.reshape(count, -1)
