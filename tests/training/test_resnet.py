"""Trainings of residual networks of 48 pixels: on ranks, resumed, measured, exported, sampled."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from typer.testing import CliRunner

from gantrain.cli.main import app
from gantrain.config import parse_config
from gantrain.data.shards.writer import write_shards
from gantrain.inference.export import load_generator
from gantrain.inference.sampling import sample_images
from gantrain.models.networks import build_networks
from gantrain.training.gan import Gan
from tests.conftest import draw_squares, small_tree
from tests.curves import assert_same_end, assert_similar_curves, curve
from tests.launching import Train, launch_several, write_config

SIZE = 48
RESNET: dict[str, dict[str, Any]] = {
    "data": {"size": SIZE},
    "generator": {"backbone": "resnet", "width": 2},
    "discriminator": {"backbone": "resnet", "width": 2, "spectral_norm": True},
    "objective": {"kind": "hinge", "n_critic": 2, "r1_gamma": 0.1},
}


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 grey images of 48x48."""
    folder = tmp_path_factory.mktemp("data") / "squares"
    write_shards(folder, draw_squares(60, SIZE), size=SIZE, channels=1, source="squares")
    return folder


@pytest.mark.usefixtures("short_classifier_training")
def test_a_run_is_measured_exported_and_sampled(
    squares: Path, tmp_path: Path, train: Train
) -> None:
    metrics = {"metrics": {"every_kimg": 0.08, "samples": 16, "features": "classifier"}}
    tree = small_tree(squares, tmp_path / "run", **RESNET, **metrics)
    tree["output"]["keep_best"] = None
    done = train(write_config(tmp_path / "run.yaml", tree))
    assert done.returncode == 0, done.stderr
    lines = curve(tmp_path / "run")
    assert any("quality/swd" in line for line in lines)
    assert all(line["loss/r1"] > 0 for line in lines)
    generator = load_generator(tmp_path / "run")
    assert sample_images(generator, 3, seed=1).shape == (3, 1, SIZE, SIZE)
    again = load_generator(tmp_path / "run" / "generator.safetensors")
    assert torch.equal(sample_images(generator, 3, seed=1), sample_images(again, 3, seed=1))
    for words in (["sample", "--n", "4", "--out"], ["export", "--out"]):
        pytest.importorskip("onnxruntime")
        out = tmp_path / f"{words[0]}.{'png' if words[0] == 'sample' else 'onnx'}"
        result = CliRunner().invoke(app, [words[0], str(tmp_path / "run"), *words[1:], str(out)])
        assert result.exit_code == 0, result.output
        assert out.stat().st_size > 100


def test_two_ranks_have_the_curve_of_one_and_resume_bit_for_bit(
    squares: Path, tmp_path: Path, train: Train
) -> None:
    # BatchNorm in G would make statistics of a rank's part of the batch.
    generator = {**RESNET["generator"], "norm": "none"}

    def arguments(name: str) -> list[str]:
        tree = small_tree(squares, tmp_path / name, **{**RESNET, "generator": generator})
        return ["--config", str(write_config(tmp_path / f"{name}.yaml", tree))]

    alone, both, stopped = (arguments(name) for name in ("alone", "both", "stopped"))
    assert train(Path(alone[1])).returncode == 0
    done = launch_several(both, [*stopped, "training.total_kimg=0.064"], stopped, ranks=2)
    assert done.returncode == 0, done.stderr
    assert_same_end(tmp_path / "both", tmp_path / "stopped")
    assert_similar_curves(tmp_path / "alone", tmp_path / "both", lines=5)


def test_memory_format_and_bf16_change_only_the_rounding() -> None:
    def scores(**training: Any) -> torch.Tensor:
        tree = small_tree(Path("shards"), Path("run"), **RESNET)
        tree["training"] |= training
        config = parse_config(tree, "x.yaml")
        accelerator = Accelerator(cpu=True, mixed_precision=config.training.mixed_precision)
        gan = Gan(config, accelerator, build_networks(config))
        latents = torch.randn(4, gan.latent_size, generator=torch.Generator().manual_seed(0))
        return gan.discriminate(gan.generate(latents))

    exact = scores(channels_last=False)
    torch.testing.assert_close(scores(channels_last=True), exact, rtol=1e-4, atol=1e-5)
    AcceleratorState._reset_state(reset_partial_state=True)
    rounded = scores(mixed_precision="bf16")
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05 * exact.abs().max().item())
