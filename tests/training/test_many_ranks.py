"""More ranks than cores, for real, and more than any machine here has, by simulation."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gantrain.common.errors import REQUEUE_STATUS
from gantrain.common.rng import PositionalRNG
from gantrain.config import Config
from gantrain.data.loading.order import FullShuffle, WindowShuffle
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.records import read_heartbeats
from gantrain.training.batch import local_rng
from tests.conftest import small_config, small_tree
from tests.curves import assert_similar_curves, status
from tests.launching import ROOT, Train, environment, write_config


def train_on(ranks: int, config: Path, fault: str = "") -> list[int]:
    """Train and return the exit status of each rank."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.forked_ranks", str(ranks), "--config", str(config)],
        cwd=ROOT,
        env=environment(GANTRAIN_FAULT=fault),
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.stdout, done.stderr
    statuses: list[int] = json.loads(done.stdout.splitlines()[-1])
    return statuses


@pytest.mark.alone
@pytest.mark.timeout(1200)
def test_a_run_goes_from_8_to_16_ranks_as_if_it_had_one(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    sections: dict[str, dict[str, Any]] = {
        "generator": {"norm": "none"},
        "discriminator": {"norm": "none"},
        "training": {"batch_size": 32},
        "augment": {"flip": 0.5, "shift": 2, "diffaugment": ["translation", "cutout"]},
        "metrics": {"every_kimg": 0.064, "samples": 32, "features": "random"},
        "output": {"checkpoint_every_kimg": 0.032},
    }
    alone, many = (
        write_config(tmp_path / f"{name}.yaml", small_tree(shards, tmp_path / name, **sections))
        for name in ("alone", "many")
    )
    assert train(alone).returncode == 0
    assert train_on(8, many, fault="SIGTERM@64@3") == [REQUEUE_STATUS] * 8
    assert status(tmp_path / "many")["state"] == "preempted"
    assert 64 < status(tmp_path / "many")["images_seen"] < 160
    assert train_on(16, many) == [0] * 16
    assert_similar_curves(tmp_path / "alone", tmp_path / "many", lines=5)
    measured = [line for line in read_metrics(tmp_path / "many") if "quality/kid_random" in line]
    assert len(measured) >= 2
    beats = read_heartbeats(tmp_path / "many")
    assert sorted((beat["rank"], beat["images_seen"]) for beat in beats) == [
        (rank, 160) for rank in range(16)
    ]


def config_of(batch: int) -> Config:
    training = {"batch_size": batch, "total_kimg": 1000}
    return small_config(Path("shards"), Path("run"), training=training)


RANKS, PER_RANK = 512, 4
COUNTS = np.random.default_rng(0).integers(0, 700, 31)  # images of each shard
ORDERS: dict[str, FullShuffle | WindowShuffle] = {
    "cache": FullShuffle(int(COUNTS.sum())),
    "stream": WindowShuffle(COUNTS, window=1500),
}


@pytest.mark.parametrize("mode", ORDERS)
def test_512_ranks_see_the_images_of_one_rank_in_its_order(mode: str) -> None:
    order, batch = ORDERS[mode], RANKS * PER_RANK
    config = config_of(batch)
    seen = []
    for step in range(2 * order.total // batch + 1):
        start = step * batch
        parts = [order.indices(local_rng(config, start, rank, RANKS)) for rank in range(RANKS)]
        whole = order.indices(PositionalRNG(config.seed, start, batch))
        joined = np.concatenate([np.atleast_2d(part) for part in parts], axis=1)
        assert {np.shape(part)[-1] for part in parts} == {PER_RANK}
        assert np.array_equal(joined, np.atleast_2d(whole))
        seen.append(joined)
    images = np.concatenate(seen, axis=1)
    for epoch in range(2):
        visited = images[..., epoch * order.total : (epoch + 1) * order.total]
        assert len(np.unique(visited, axis=1).T) == order.total


def test_512_ranks_read_only_the_shards_of_a_window_at_a_time() -> None:
    order, batch = WindowShuffle(COUNTS, window=1500), RANKS * PER_RANK
    config = config_of(batch)
    # A batch spans two or three windows, of which each spans the shards that have its images.
    fewest = np.sort(COUNTS[COUNTS > 0]).cumsum()
    most = 3 * (int(np.searchsorted(fewest, order.window)) + 2)
    for step in range(order.total // batch):
        parts = [
            order.indices(local_rng(config, step * batch, rank, RANKS))[0] for rank in range(RANKS)
        ]
        assert len(np.unique(np.concatenate(parts))) <= most
