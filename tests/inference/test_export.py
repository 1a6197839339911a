"""Export and loading of generators."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.jit import TracerWarning  # type: ignore[attr-defined]

import gantrain
from gantrain.common.errors import UserError
from gantrain.config import DcganGeneratorConfig, ResnetGeneratorConfig
from gantrain.inference import export, interpolation
from gantrain.inference.export import export_generator, load_generator
from gantrain.inference.onnx import export_onnx, verify_onnx
from gantrain.inference.sampling import generate_images, sample_latents
from gantrain.models.networks import Generator
from tests.conftest import small_config


def _generator(**settings: object) -> Generator:
    torch.manual_seed(0)
    config = DcganGeneratorConfig.model_validate({"width": 4, "latent_size": 8, **settings})
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
def test_onnx_and_pytorch_generate_the_same_images(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    _assert_same_in_onnx(_generator(**settings), tmp_path / "g.onnx")


@pytest.mark.parametrize("size", [32, 48])
def test_onnx_and_pytorch_generate_the_same_images_with_residual_blocks(
    tmp_path: Path, size: int
) -> None:
    torch.manual_seed(0)
    config = ResnetGeneratorConfig(backbone="resnet", width=2, latent_size=8)
    generator = Generator(config, size, 3)
    generator(torch.randn(64, 8))  # so that the running statistics are not those of the start
    _assert_same_in_onnx(generator.eval().requires_grad_(False), tmp_path / "g.onnx")


def _assert_same_in_onnx(generator: Generator, file: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    with warnings.catch_warnings():
        warnings.simplefilter("error", TracerWarning)
        path = export_onnx(generator, file)
    session = runtime.InferenceSession(str(path))
    for count in (1, 5):  # neither is the batch size of the export
        latents = sample_latents(generator, count, 3)
        (images,) = session.run(None, {"latents": latents.numpy()})
        assert np.abs(images - generate_images(generator, latents).numpy()).max() < 1e-4


def test_verification_rejects_the_file_of_another_generator(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = export_onnx(_generator(), tmp_path / "g.onnx")
    other = _generator()
    for parameter in other.parameters():
        parameter.data.mul_(3)
    with pytest.raises(UserError, match=r"differ from PyTorch's"):
        verify_onnx(other, path)


def test_an_exported_generator_loads_as_it_was(shards: Path, tmp_path: Path) -> None:
    config = small_config(shards, tmp_path / "run")
    generator = Generator(config.generator, 32, 1).eval()
    loaded = load_generator(export_generator(generator, config, 100))
    latents = sample_latents(generator, 2, 0)
    assert torch.equal(generate_images(loaded, latents), generate_images(generator, latents))


def test_a_run_without_a_checkpoint_has_no_generator(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint yet"):
        load_generator(tmp_path)
    (tmp_path / "g.safetensors").write_bytes(b"truncated")
    with pytest.raises(UserError, match="not readable as a generator"):
        load_generator(tmp_path / "g.safetensors")


def test_the_package_exports_its_functions_lazily() -> None:
    from gantrain import load_generator, slerp

    assert load_generator is export.load_generator
    assert slerp is interpolation.slerp
    assert all(getattr(gantrain, name) for name in gantrain.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gantrain.nothing
