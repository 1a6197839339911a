"""Runs that are killed or stopped in the middle of their end, and make up for what is missing."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from gantrain.inference.export import load_generator
from gantrain.runs.paths import GENERATOR, list_grids
from tests.conftest import small_tree
from tests.curves import assert_same_end, curve, events, status
from tests.end_faults import END_WORKS, before_work
from tests.launching import Train, train_alone, write_config


def config_of(tmp_path: Path, shards: Path, name: str) -> Path:
    sections: dict[str, dict[str, Any]] = {
        "generator": {"learning_rate": {"from": 2e-4, "to": 0}},
        "training": {"total_kimg": 0.08},
        "metrics": {"every_kimg": 50, "samples": 32, "features": "random"},
    }
    return write_config(tmp_path / f"{name}.yaml", small_tree(shards, tmp_path / name, **sections))


def assert_finished_like(undisturbed: Path, run: Path) -> None:
    assert status(run)["state"] == "finished"
    assert len(events(run, "finished")) == 1
    assert_same_end(undisturbed, run)
    assert "quality/kid_random" in curve(run)[-1]
    exported, expected_export = (
        load_generator(run / GENERATOR),
        load_generator(undisturbed / GENERATOR),
    )
    for a, b in zip(exported.parameters(), expected_export.parameters(), strict=True):
        assert torch.equal(a, b)
    grids = [path for _, path in list_grids(run)]
    expected = [path for _, path in list_grids(undisturbed)]
    assert [p.read_bytes() for p in grids] == [p.read_bytes() for p in expected]


@pytest.mark.parametrize("work", END_WORKS)
def test_a_run_that_is_killed_in_its_end_finishes_at_the_next_start(
    work: str, shards: Path, tmp_path: Path, train: Train
) -> None:
    assert train(config_of(tmp_path, shards, "undisturbed")).returncode == 0
    config = config_of(tmp_path, shards, "killed-in-it")
    assert train_alone(config, fault=f"SIGKILL@{work}").returncode == -signal.SIGKILL
    assert status(tmp_path / "killed-in-it")["state"] == "running"
    assert train(config).returncode == 0
    assert_finished_like(tmp_path / "undisturbed", tmp_path / "killed-in-it")
    before = status(tmp_path / "killed-in-it")
    assert train(config).returncode == 0  # nothing is left to do
    assert status(tmp_path / "killed-in-it") == before


@pytest.mark.parametrize(
    ("number", "state", "expected"),
    [(signal.SIGTERM, "preempted", 75), (signal.SIGINT, "interrupted", 130)],
)
@pytest.mark.parametrize("work", ["measure", "sample"])
def test_a_signal_in_the_end_stops_the_run_and_the_next_start_does_the_rest(
    work: str,
    number: signal.Signals,
    state: str,
    expected: int,
    shards: Path,
    tmp_path: Path,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert train(config_of(tmp_path, shards, "undisturbed")).returncode == 0
    config = config_of(tmp_path, shards, "stopped-in-it")
    before_work(work, lambda: signal.raise_signal(number), monkeypatch.setattr)
    done = train(config)
    assert done.returncode == expected
    assert "at 80 images and saved" in done.stderr
    assert status(tmp_path / "stopped-in-it")["state"] == state
    assert not (tmp_path / "stopped-in-it" / GENERATOR).exists()
    assert train(config).returncode == 0
    assert_finished_like(tmp_path / "undisturbed", tmp_path / "stopped-in-it")
