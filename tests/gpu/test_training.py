"""Short trainings on a device: precisions, resume, divergence, memory, and shared GPUs."""

from pathlib import Path
from typing import Any

import pytest
import torch

import gantrain.training.loop
from gantrain.training.distributed import gradients_over_gloo
from tests.conftest import WGAN_GP
from tests.curves import assert_same_end, assert_similar_curves, curve, events, status
from tests.gpu.devices import DEVICES, NO_BATCH_STATISTICS, config_on
from tests.launching import Train, launch
from tests.training.cases import GRAPHED, Sections

on_each_device = pytest.mark.parametrize("device", DEVICES)
EVERYTHING: Sections = {
    "discriminator": {"dropout": 0.3},
    "objective": {"label_flips": 0.1, "label_noise": 0.1},
    "augment": {"flip": 0.5, "shift": 2, "diffaugment": ["translation", "cutout", "brightness"]},
}


@pytest.fixture(autouse=True)
def _same_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cuDNN choose the same kernels each time, in fp32 where fp32 is asked for."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@on_each_device
@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("sections", [{}, WGAN_GP], ids=["dcgan", "wgan-gp"])
def test_half_precision_starts_like_fp32(
    sections: Sections, precision: str, device: str, shards: Path, tmp_path: Path, train: Train
) -> None:
    if precision == "fp16" and device == "cpu":
        pytest.skip("fp16 is for GPUs")
    # The first line is of the first D step: fp16 skips steps until it has found its loss scale.
    one_step: Sections = {"output": {"log_every_kimg": 0.016}}
    if "objective" in sections:
        one_step["objective"] = {"n_critic": 1}
    losses = []
    for name in ("no", precision):
        training = {"mixed_precision": name}
        config = config_on(
            device, shards, tmp_path, sections, name=name, training=training, **one_step
        )
        assert train(config).returncode == 0
        lines = curve(tmp_path / name)
        assert lines[-1].get("health/skipped_steps", 0) == 0
        losses.append(lines[0]["loss/discriminator"])
    assert losses[1] == pytest.approx(losses[0], rel=0.1, abs=0.05)


@on_each_device
def test_a_run_resumes_exactly(device: str, shards: Path, tmp_path: Path, train: Train) -> None:
    whole, resumed = (
        config_on(device, shards, tmp_path, EVERYTHING, name=name) for name in ("whole", "resumed")
    )
    assert train(whole).returncode == 0
    assert train(resumed, "training.total_kimg=0.08").returncode == 0
    assert train(resumed).returncode == 0
    assert_same_end(tmp_path / "whole", tmp_path / "resumed")


@on_each_device
def test_the_fp16_scaler_and_the_guard_skip_steps_and_roll_back(
    device: str, shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = gantrain.training.loop.d_step
    left = [6]

    def without_numbers(gan: Any, objective: Any, batch: Any) -> Any:
        if batch.rng.start >= 64 and left[0] > 0:
            left[0] -= 1
            batch.images.fill_(float("nan"))
        return original(gan, objective, batch)

    monkeypatch.setattr(gantrain.training.loop, "d_step", without_numbers)
    precision = "fp16" if device == "cuda" else "bf16"
    config = config_on(
        device,
        shards,
        tmp_path,
        NO_BATCH_STATISTICS,
        # A graph would never call the function above.
        training={"mixed_precision": precision, "cuda_graphs": "off"},
        guard={"bad_steps": 3},
        output={"checkpoint_every_kimg": 0.048},
    )
    assert train(config).returncode == 0
    assert events(tmp_path / "run", "rolled_back")
    assert status(tmp_path / "run")["state"] == "finished"


@pytest.mark.gpu
@pytest.mark.parametrize("share", [0.5, 1e-9], ids=["resident", "pinned"])
def test_where_the_images_are_changes_nothing(
    share: float, shards: Path, tmp_path: Path, train: Train
) -> None:
    data = {"device_share": share, "mode": "cache"}
    config = config_on("cuda", shards, tmp_path, EVERYTHING, data=data)
    other = config_on("cuda", shards, tmp_path, EVERYTHING, name="other", data={"mode": "cache"})
    assert train(config).returncode == 0
    assert train(other).returncode == 0
    assert_same_end(tmp_path / "run", tmp_path / "other")


@pytest.mark.gpu
def test_too_large_a_batch_is_one_error(shards: Path, tmp_path: Path, train: Train) -> None:
    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        training = {"batch_size": 8192, "total_kimg": 9}
        wide = {"width": 64}
        done = train(
            config_on(
                "cuda", shards, tmp_path, generator=wide, discriminator=wide, training=training
            )
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for words in ("training.batch_size: 8192", "training.grad_accum_steps=2", "data.device_share"):
        assert words in done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("graphs", "sync"),
    [("off", False), ("auto", False), ("auto", True)],
    ids=["called", "graphs", "sync-batch-norm"],
)
def test_two_ranks_train_like_one(
    graphs: str, sync: bool, shards: Path, tmp_path: Path, train: Train
) -> None:
    """On two GPUs by NCCL, on one by gloo. With synchronised statistics, BatchNorm's are equal."""
    if sync and torch.cuda.device_count() < 2:
        pytest.skip("torch synchronises batch statistics by NCCL, which needs two GPUs")
    sections: Sections = {} if sync else NO_BATCH_STATISTICS
    one = config_on("cuda", shards, tmp_path, sections, name="one")
    training = {"sync_batch_norm": sync, "cuda_graphs": graphs}
    two = config_on("cuda", shards, tmp_path, sections, name="two", training=training)
    assert train(one).returncode == 0
    done = launch(two, ranks=2)
    assert done.returncode == 0, done.stderr
    assert ("with CUDA graphs" in done.stderr) == (graphs == "auto" and not sync)
    assert "not captured" not in done.stderr
    assert_similar_curves(tmp_path / "one", tmp_path / "two", lines=5)


@pytest.mark.parametrize(
    ("ranks", "gpus", "shared"), [(1, 1, False), (2, 1, True), (2, 2, False), (8, 4, True)]
)
def test_ranks_that_share_a_gpu_do_not_use_nccl(ranks: int, gpus: int, shared: bool) -> None:
    assert gradients_over_gloo(ranks, gpus) == shared


FP16: dict[str, Sections] = {
    "fp16": {"training": {"mixed_precision": "fp16"}},
    "wgan-gp, fp16": {**WGAN_GP, "training": {"mixed_precision": "fp16"}},
}


@pytest.mark.gpu
@pytest.mark.parametrize("name", [*GRAPHED, *FP16])
def test_captured_steps_train_like_others(
    name: str, shards: Path, tmp_path: Path, train: Train
) -> None:
    sections = {**(GRAPHED | FP16)[name], "output": {"log_every_kimg": 0.08}}
    for graphs in ("off", "auto"):
        training = {**sections.get("training", {}), "total_kimg": 0.4, "cuda_graphs": graphs}
        config = config_on("cuda", shards, tmp_path, sections, name=graphs, training=training)
        done = train(config)
        assert done.returncode == 0, done.stderr
        assert ("with CUDA graphs" in done.stderr) == (graphs == "auto")
        assert "not captured" not in done.stderr
    # Half precision rounds to 3 digits, and a GPU may choose other kernels in a graph.
    assert_similar_curves(tmp_path / "off", tmp_path / "auto", lines=5)
