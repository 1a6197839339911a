"""Two ranks that are stopped, killed or stuck, and runs that change their number of ranks."""

import signal
from pathlib import Path
from typing import Any

import pytest

from gantrain.runs.records import read_heartbeats
from tests.conftest import WGAN_GP, small_tree
from tests.curves import assert_same_end, assert_similar_curves, events, status
from tests.launching import Train, launch, write_config

AUGMENT = {"flip": 0.5, "shift": 2, "diffaugment": ["translation", "cutout", "brightness"]}
NO_BATCH_STATISTICS: dict[str, dict[str, Any]] = {
    "generator": {"norm": "none"},
    "discriminator": {"norm": "none"},
}


def config_of(tmp_path: Path, shards: Path, name: str, **sections: dict[str, Any]) -> Path:
    tree = small_tree(shards, tmp_path / name, **sections)
    return write_config(tmp_path / f"{name}.yaml", tree)


@pytest.mark.parametrize("kind", ["dcgan", "wgan-gp"])
def test_a_signal_to_one_rank_stops_both_and_the_run_resumes_exactly(
    kind: str, shards: Path, tmp_path: Path
) -> None:
    sections: dict[str, dict[str, Any]] = {
        "discriminator": {"dropout": 0.3},
        "objective": {"label_flips": 0.1},
        "augment": AUGMENT,
    }
    if kind == "wgan-gp":
        sections = {
            **WGAN_GP,
            "discriminator": {"norm": "layer", "dropout": 0.3},
            "augment": AUGMENT,
        }
    uninterrupted = config_of(tmp_path, shards, "uninterrupted", **sections)
    config = config_of(tmp_path, shards, "stopped", **sections)
    assert launch(uninterrupted, ranks=2).returncode == 0
    stopped = launch(config, ranks=2, fault="SIGTERM@64@1")
    assert "Preempted by SIGTERM" in stopped.stderr
    assert status(tmp_path / "stopped")["state"] == "preempted"
    assert 64 < status(tmp_path / "stopped")["images_seen"] < 160
    done = launch(config, ranks=2)
    assert done.returncode == 0, done.stderr
    assert_same_end(tmp_path / "uninterrupted", tmp_path / "stopped")


JOINT_AND_LAZY: dict[str, dict[str, Any]] = {
    "objective": {"kind": "wgan-gp", "n_critic": 2, "penalty_every": 2},
    "training": {"updates": "joint"},
}


@pytest.mark.parametrize("sections", [{}, JOINT_AND_LAZY], ids=["dcgan", "joint-lazy-wgan-gp"])
def test_a_run_resumes_with_another_number_of_ranks(
    sections: dict[str, dict[str, Any]], shards: Path, tmp_path: Path, train: Train
) -> None:
    uninterrupted = config_of(tmp_path, shards, "uninterrupted", **NO_BATCH_STATISTICS, **sections)
    elastic = config_of(tmp_path, shards, "elastic", **NO_BATCH_STATISTICS, **sections)
    assert train(uninterrupted).returncode == 0
    assert launch(elastic, "training.total_kimg=0.048", ranks=2).returncode == 0
    assert train(elastic, "training.total_kimg=0.112").returncode == 0
    assert launch(elastic, ranks=2).returncode == 0
    assert_similar_curves(tmp_path / "uninterrupted", tmp_path / "elastic", lines=5)


def test_when_one_rank_is_killed_the_other_ends_and_the_next_start_works(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    config = config_of(tmp_path, shards, "run", output={"checkpoint_every_kimg": 0.032})
    done = launch(config, ranks=2, fault="SIGKILL@80@1")
    assert done.returncode != 0
    assert f"exitcode  : -{signal.SIGKILL}" in done.stderr
    assert "Another rank is gone" in done.stderr
    assert "Start again" in status(run)["reason"]
    again = train(config)
    assert again.returncode == 0
    assert "resumes at 64" in again.stderr


def test_a_stuck_rank_is_named_by_the_ranks_that_wait_for_it(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = config_of(tmp_path, shards, "run", guard={"hang_seconds": 8})
    done = launch(config, ranks=2, fault="hang@48@1")
    assert done.returncode != 0
    assert "rank 1" in done.stderr
    assert "stuck in phase D at 48 images" in done.stderr
    assert [beat["rank"] for beat in read_heartbeats(run)] == [0, 1]
    assert status(run)["state"] == "hung"
    assert events(run, "hung")
