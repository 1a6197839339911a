"""Search for the nearest training images."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from gantrain.config import DataConfig
from gantrain.data.loading.labelled import open_labelled_dataset
from gantrain.inference.nearest import PixelSearch, nearest_by_features


@pytest.mark.parametrize(("channels", "size"), [(1, 32), (3, 64)])
def test_the_search_agrees_with_comparing_all_images(channels: int, size: int) -> None:
    random = np.random.default_rng(0)
    # Smooth images, like real ones, with noise and with duplicates.
    coarse = random.integers(0, 256, (400, channels, 4, 4))
    images = np.kron(coarse, np.ones((size // 4, size // 4))).astype(np.uint8)
    images = np.clip(images + random.integers(-9, 9, images.shape), 0, 255).astype(np.uint8)
    images[7] = images[300]
    queries = np.concatenate([images[[300, 5]], random.integers(0, 256, (2, *images.shape[1:]))])
    queries = queries.astype(np.uint8)
    result = PixelSearch(images).find(queries, 6)
    for query, rows, distances in zip(queries, result.rows, result.distances, strict=True):
        differences = np.abs(images.astype(float) - query).mean((1, 2, 3))
        assert rows.tolist() == np.argsort(differences, kind="stable")[:6].tolist()
        assert distances == pytest.approx(np.sort(differences)[:6])
    assert result.rows[0, :2].tolist() == [7, 300]
    assert result.distances[0, :2].tolist() == [0, 0]


def test_a_search_for_more_images_than_exist_returns_all() -> None:
    images = np.zeros((3, 1, 32, 32), np.uint8)
    assert PixelSearch(images).find(images[:1], 10).rows.tolist() == [[0, 1, 2]]


def test_a_search_by_features_compares_features() -> None:
    images = torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(8, 1, 32, 32)
    result = nearest_by_features(
        images, images[5:6], lambda x: x.float().mean((1, 2, 3))[:, None] % 4, 2
    )
    assert sorted(result.rows[0].tolist()) == [1, 5]


def test_forty_thousand_images_are_searched_in_seconds() -> None:
    random = np.random.default_rng(0)
    coarse = random.integers(60, 250, (40_000, 1, 8, 8), np.uint8)
    images = coarse.repeat(8, 2).repeat(8, 3)
    began = time.process_time()
    PixelSearch(images).find(images[:8] // 2 + 60, 5)
    # CPU time, since other processes may occupy the cores.
    assert time.process_time() - began < 4


def test_labels_are_read_from_the_shards(shards: Path, tmp_path: Path) -> None:
    labelled = open_labelled_dataset(DataConfig(shards=shards, size=32, cache_dir=tmp_path))
    rows = np.array([199, 0, 81])
    assert [label["part"] for label in labelled.labels(rows)] == ["part4", "part0", "part1"]
    assert [labelled.key(row) for row in rows] == ["square-0199", "square-0000", "square-0081"]
