"""The order of the loop's steps, and the images that each of them gets."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gantrain.training.loop
from gantrain.training.batch import Batch
from tests.conftest import IMAGES, small_tree
from tests.launching import Train, write_config


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, Tensor | None]]:
    """Every step of a training run: D or G, its position, and the real images that it got."""
    seen: list[tuple[str, int, Tensor | None]] = []
    d_step, g_step = gantrain.training.loop.d_step, gantrain.training.loop.g_step

    def note_d(gan: Any, objective: Any, batch: Batch) -> Any:
        seen.append(("D", batch.rng.start, batch.images))
        return d_step(gan, objective, batch)

    def note_g(gan: Any, objective: Any, batch: Batch) -> Any:
        seen.append(("G", batch.rng.start, None))
        return g_step(gan, objective, batch)

    monkeypatch.setattr(gantrain.training.loop, "d_step", note_d)
    monkeypatch.setattr(gantrain.training.loop, "g_step", note_g)
    return seen


Steps = list[tuple[str, int, Tensor | None]]


def train_critic(shards: Path, tmp_path: Path, train: Train, reuse: bool) -> None:
    objective = {"kind": "wgan-gp", "n_critic": 3, "reuse_real_batch": reuse}
    tree = small_tree(
        shards, tmp_path / "run", objective=objective, discriminator={"norm": "layer"}
    )
    assert train(write_config(tmp_path / "config.yaml", tree)).returncode == 0


def test_each_critic_step_gets_a_new_batch_and_then_g_makes_one_step(
    shards: Path, tmp_path: Path, train: Train, steps: Steps
) -> None:
    train_critic(shards, tmp_path, train, reuse=False)
    assert "".join(kind for kind, *_ in steps) == "DDDG" * 4
    assert [start for kind, start, _ in steps if kind == "D"] == list(range(0, 12 * 16, 16))
    assert [start for kind, start, _ in steps if kind == "G"] == list(range(0, 4 * 16, 16))
    batches = [real for _, _, real in steps if real is not None]
    assert not any(torch.equal(a, b) for a in batches for b in batches if a is not b)


def test_reuse_real_batch_gives_all_critic_steps_of_an_iteration_one_batch(
    shards: Path, tmp_path: Path, train: Train, steps: Steps
) -> None:
    train_critic(shards, tmp_path, train, reuse=True)
    batches = [real for _, _, real in steps if real is not None]
    for first in range(0, 12, 3):
        one, two, three = batches[first : first + 3]
        assert torch.equal(one, two)
        assert torch.equal(one, three)
    assert not torch.equal(batches[0], batches[3])


def test_an_epoch_shows_every_image_once(
    shards: Path, tmp_path: Path, train: Train, steps: Steps
) -> None:
    tree = small_tree(shards, tmp_path / "run", training={"total_kimg": 0.4, "batch_size": 40})
    assert train(write_config(tmp_path / "config.yaml", tree)).returncode == 0
    batches = [real for _, _, real in steps if real is not None]
    first, second = torch.cat(batches[:5]), torch.cat(batches[5:])
    assert not torch.equal(first, second)

    # As multisets: the images as bytes, sorted.
    assert sorted(x.numpy().tobytes() for x in first) == sorted(x.numpy().tobytes() for x in second)
    assert len(first) == IMAGES
