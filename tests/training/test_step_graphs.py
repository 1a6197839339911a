"""Steps as CUDA graphs train like steps that are called, on recorded operations (no GPU)."""

import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from accelerate import Accelerator

import gantrain.train
from gantrain.training.adam import FusedAdam
from gantrain.training.penalties import Metrics
from gantrain.training.step_graphs import GraphedSteps
from tests.conftest import WGAN_GP, small_tree
from tests.curves import assert_same_end, assert_similar_curves, curve, events
from tests.launching import ROOT, Train, launch, write_config
from tests.training.cases import GRAPHED, Sections
from tests.training.loss_scale import with_scaler
from tests.training.recorded_operations import RecordedOperations, as_on_a_gpu, capture_by


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> RecordedOperations:
    """What the steps of the next trainings in this process are captured by."""
    backend = RecordedOperations()
    capture_by(backend, monkeypatch.setattr)
    return backend


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_a_gpu(monkeypatch.setattr)


def config_of(sections: Sections, shards: Path, run: Path, **training: Any) -> Path:
    tree = small_tree(shards, run, **sections)
    tree["training"] |= {"total_kimg": 0.32, **training}
    return write_config(run.with_suffix(".yaml"), tree)


@pytest.mark.parametrize("name", GRAPHED)
def test_captured_steps_train_like_others(
    name: str, shards: Path, tmp_path: Path, train: Train, request: pytest.FixtureRequest
) -> None:
    called = config_of(GRAPHED[name], shards, tmp_path / "called")
    assert train(called).returncode == 0
    backend: RecordedOperations = request.getfixturevalue("backend")
    captured = config_of(GRAPHED[name], shards, tmp_path / "captured")
    done = train(captured)
    assert done.returncode == 0, done.stderr
    assert backend.replays >= 10
    assert_same_end(tmp_path / "called", tmp_path / "captured")


def test_a_roll_back_captures_anew(
    shards: Path,
    tmp_path: Path,
    train: Train,
    backend: RecordedOperations,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = GraphedSteps.run
    spoilt = [3]

    def without_numbers(self: Any, step: Any, gan: Any, objective: Any, batch: Any) -> Metrics:
        if batch.rng.start >= 160 and spoilt[0] > 0:
            spoilt[0] -= 1
            batch.images.fill_(float("nan"))
        metrics: Metrics = original(self, step, gan, objective, batch)
        return metrics

    monkeypatch.setattr(GraphedSteps, "run", without_numbers)
    sections: Sections = {
        "generator": {"norm": "none"},
        "discriminator": {"norm": "none"},
        "guard": {"bad_steps": 2},
        "output": {"checkpoint_every_kimg": 0.048},
    }
    config = config_of(sections, shards, tmp_path / "run")
    assert train(config).returncode == 0
    assert events(tmp_path / "run", "rolled_back")
    assert backend.replays >= 10


@pytest.fixture
def scalers(monkeypatch: pytest.MonkeyPatch) -> list[torch.amp.GradScaler]:
    """The loss scale of each training, as under fp16, which Accelerate has for GPUs only.

    It grows every few steps until gradients overflow.
    """
    made: list[torch.amp.GradScaler] = []

    def make(_: Any) -> Accelerator:
        scaler = torch.amp.GradScaler(
            "cpu", 2.0**32, growth_factor=2.0**16, backoff_factor=2.0**-16, growth_interval=4
        )
        made.append(scaler)
        return with_scaler(scaler)

    monkeypatch.setattr(gantrain.train, "make_accelerator", make)
    return made


def test_captured_steps_count_for_the_loss_scale(
    shards: Path,
    tmp_path: Path,
    train: Train,
    scalers: list[torch.amp.GradScaler],
    request: pytest.FixtureRequest,
) -> None:
    assert train(config_of(WGAN_GP, shards, tmp_path / "called")).returncode == 0
    backend: RecordedOperations = request.getfixturevalue("backend")
    done = train(config_of(WGAN_GP, shards, tmp_path / "captured"))
    assert done.returncode == 0, done.stderr
    assert backend.replays >= 10
    assert_same_end(tmp_path / "called", tmp_path / "captured")
    called, captured = (scaler.state_dict() for scaler in scalers)
    assert captured == called
    assert captured["scale"] > 2.0**32
    assert sum(line.get("health/skipped_steps", 0) for line in curve(tmp_path / "captured")) > 0


def test_ranks_average_their_gradients_between_graphs(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    sections = {
        **WGAN_GP,
        "generator": {"norm": "none"},  # batch statistics are those of a rank
        "output": {"log_every_kimg": 0.08},
    }
    one, called, captured = (
        config_of(sections, shards, tmp_path / name) for name in ("one", "called", "captured")
    )
    assert train(one).returncode == 0
    launch_graphed(called, "")
    assert launch_graphed(captured, "yes") >= 10
    assert_same_end(tmp_path / "called", tmp_path / "captured")
    assert_similar_curves(tmp_path / "one", tmp_path / "captured", lines=4)


def launch_graphed(config: Path, capture: str) -> int:
    """Train with two ranks; return how many steps each replayed."""
    script = ROOT / "tests" / "graphed_train.py"
    done = launch(config, ranks=2, script=script, changes={"GANTRAIN_CAPTURE": capture})
    assert done.returncode == 0, done.stderr
    first, second = (int(x) for x in re.findall(r"replays: (\d+)", done.stderr))
    assert first == second
    return first


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "with-a-loss-scale"])
def test_what_cannot_be_captured_is_called(
    scaled: bool,
    shards: Path,
    tmp_path: Path,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if scaled:
        request.getfixturevalue("scalers")
    assert train(config_of({}, shards, tmp_path / "called")).returncode == 0
    request.getfixturevalue("backend")
    original = RecordedOperations.capture

    def fail(*_: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    def capture(self: RecordedOperations, work: Any) -> Any:
        with patch.object(FusedAdam, "_init_group", fail):
            return original(self, work)

    monkeypatch.setattr(RecordedOperations, "capture", capture)
    done = train(config_of({}, shards, tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("not captured as CUDA graphs, which is slower: operation not") == 1
    assert_same_end(tmp_path / "called", tmp_path / "run")
