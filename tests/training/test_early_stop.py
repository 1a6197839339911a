"""guard.stop_after_worse_kimg: when a run ends early, what it leaves, and how it is resumed."""

from pathlib import Path

import pytest

from gantrain.metrics.evaluator import Evaluator
from gantrain.runs.paths import GENERATOR, GENERATOR_BEST
from gantrain.training.schedule import Schedule
from tests.conftest import small_tree
from tests.curves import assert_same_end, curve, events, status
from tests.launching import Train, write_config

EVERY = 32  # images between measurements


@pytest.fixture
def fids(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Measure these, one after the other."""
    values: list[float] = [50, 20, 25, 40, 45, 50, 55, 60, 65, 70]

    def evaluate(self: Schedule) -> None:
        state = self._state
        self._metrics["quality/fid_random"] = values[state.images_seen // EVERY - 1]
        state.measured_at = state.images_seen

    monkeypatch.setattr(Schedule, "_evaluate", evaluate)
    monkeypatch.setattr(Evaluator, "prepare", lambda *_: None)
    # The 200 images of the set are too few for FID.
    monkeypatch.setattr(Evaluator, "names", lambda *_: ["quality/fid_random"])
    return values


def config_of(folder: Path, shards: Path, **guard: float | None) -> Path:
    tree = small_tree(
        shards,
        folder,
        training={"total_kimg": 0.32},
        metrics={"every_kimg": EVERY / 1000, "features": "random"},
        output={"log_every_kimg": EVERY / 1000, "checkpoint_every_kimg": 0.128},
        guard=dict(guard),
    )
    return write_config(folder.parent / f"{folder.name}.yaml", tree)


def test_a_run_whose_quality_fell_ends_with_its_best_and_can_be_resumed(
    shards: Path, tmp_path: Path, train: Train, fids: list[float]
) -> None:
    config = config_of(tmp_path / "early", shards, stop_after_worse_kimg=0.05)
    run = tmp_path / "early"
    done = train(config)
    assert done.returncode == 0
    # 40 at 128 images is the first that is far worse; 45 and 50 follow.
    assert status(run)["state"] == "finished"
    assert status(run)["images_seen"] == 192
    assert "best, 20 at 0.064 kimg, for 0.064 kimg" in status(run)["reason"]
    assert "ends early: FID has been at least 1.5 times its best" in done.stderr
    assert events(run, "finished")[0]["reason"] == status(run)["reason"]
    assert (run / GENERATOR).exists()
    assert (run / GENERATOR_BEST).exists()
    # The same command has nothing to do; a higher limit trains on, as if it had never ended.
    lines = len(curve(run))
    assert train(config).returncode == 0
    assert len(curve(run)) == lines
    assert train(config, "guard.stop_after_worse_kimg=0.1").returncode == 0
    assert status(run)["images_seen"] == 256
    assert train(config, "guard.stop_after_worse_kimg=null").returncode == 0
    assert status(run)["images_seen"] == 320
    assert status(run)["reason"] == ""
    assert train(config_of(tmp_path / "whole", shards)).returncode == 0
    assert_same_end(run, tmp_path / "whole")


def test_a_run_does_not_end_early_unless_asked_or_if_its_quality_recovers(
    shards: Path, tmp_path: Path, train: Train, fids: list[float]
) -> None:
    fids[5:] = [22] * 5
    assert train(config_of(tmp_path / "a", shards, stop_after_worse_kimg=0.1)).returncode == 0
    assert status(tmp_path / "a")["images_seen"] == 320
