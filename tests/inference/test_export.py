"""The generator as ONNX."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gantrain.cli.main import app
from gantrain.common.errors import UserError
from gantrain.config import GeneratorConfig
from gantrain.inference.export import export_generator, load_generator
from gantrain.inference.onnx import check_onnx, export_onnx
from gantrain.inference.sampling import generate_images, sample_latents
from gantrain.models.networks import Generator
from tests.conftest import small_config


def _generator(**settings: object) -> Generator:
    torch.manual_seed(0)
    config = GeneratorConfig.model_validate({"width": 4, "latent_size": 8, **settings})
    return Generator(config, 32, 1).eval().requires_grad_(False)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"norm": "instance"},
        {"norm": "layer", "kernel": 5},
        {"norm": "none", "upsampling": "nearest", "bias": True},
    ],
)
def test_onnx_makes_the_images_that_pytorch_makes(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    generator = _generator(**settings)
    path = export_onnx(generator, tmp_path / "g.onnx")
    session = runtime.InferenceSession(str(path))
    for count in (1, 5):  # not the number it was exported with
        latents = sample_latents(generator, count, 3)
        (made,) = session.run(None, {"latents": latents.numpy()})
        assert np.abs(made - generate_images(generator, latents).numpy()).max() < 1e-4


def test_a_wrong_file_does_not_pass_the_check(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = export_onnx(_generator(), tmp_path / "g.onnx")
    other = _generator()
    for parameter in other.parameters():
        parameter.data.mul_(3)
    with pytest.raises(UserError, match="differ from PyTorch's"):
        check_onnx(other, path)


def test_the_command_exports_what_a_run_left(shards: Path, tmp_path: Path) -> None:
    config = small_config(shards, tmp_path / "run")
    generator = Generator(config.generator, 32, 1)
    kept = export_generator(generator, config, 100)
    result = CliRunner().invoke(app, ["export", str(kept), "--out", str(tmp_path / "g.onnx")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "g.onnx").stat().st_size > 1000
    again = load_generator(kept)
    assert torch.equal(
        generate_images(again, torch.ones(1, 8)),
        generate_images(generator.eval(), torch.ones(1, 8)),
    )
