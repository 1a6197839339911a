"""Steps as CUDA graphs train like steps that are called, on recorded operations (no GPU)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gantrain.models.dropout
import gantrain.training.gan
import gantrain.training.loop
import gantrain.training.services
from gantrain.common import device_rng
from gantrain.config import NetworkConfig
from gantrain.training.adam import FusedAdam
from gantrain.training.penalties import Metrics
from gantrain.training.step_graphs import GraphedSteps
from tests.conftest import small_tree
from tests.curves import assert_same_end, events
from tests.launching import Train, write_config
from tests.training.cases import GRAPHED, Sections
from tests.training.recorded_operations import RecordedOperations, philox_by_torch


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> RecordedOperations:
    """What the steps of the next trainings in this process are captured by."""
    backend = RecordedOperations()
    runner = GraphedSteps(backend)
    monkeypatch.setattr(gantrain.training.services, "step_runner", lambda *_: runner)
    monkeypatch.setattr(device_rng, "_kernel", lambda: philox_by_torch)
    return backend


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def adam(network: nn.Module, config: NetworkConfig) -> torch.optim.Adam:
        made = FusedAdam(network.parameters(), config.adam_epsilon)
        for group in made.param_groups:
            group["lr"] = torch.tensor(1e-3)
        return made

    monkeypatch.setattr(gantrain.training.gan, "_adam", adam)
    monkeypatch.setattr(gantrain.models.dropout, "dropout", torch.nn.functional.dropout)


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


def test_what_cannot_be_captured_is_called(
    shards: Path,
    tmp_path: Path,
    train: Train,
    backend: RecordedOperations,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def capture(self: Any, work: Any) -> Any:
        work()
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(RecordedOperations, "capture", capture)
    done = train(config_of({}, shards, tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("not captured as CUDA graphs, which is slower: operation not") == 1
