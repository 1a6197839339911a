"""Exports a generator to ONNX and verifies it against PyTorch."""

import importlib
import warnings
from pathlib import Path
from typing import Any

import torch

from gantrain.common.errors import UserError
from gantrain.common.files import replacing
from gantrain.inference.sampling import generate_images, sample_latents
from gantrain.models.networks import Generator

ONNX = "generator.onnx"
_OPSET = 17
_VERIFIED_IMAGES = 16
_TOLERANCE = 1e-3  # of images in [-1, 1]: an eighth of a grey level


def export_onnx(generator: Generator, path: Path) -> Path:
    """Write the generator as ONNX and return the path.

    Input `latents`: float32 (N, latent_size) for any N. Output `images`: float32 (N, C, S, S) in
    [-1, 1].
    """
    generator = generator.eval()
    example = sample_latents(generator, 2, 0)
    with replacing(path) as temporary, warnings.catch_warnings():
        # The new exporter (dynamo=True) needs two more packages.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            generator,
            (example,),
            str(temporary),
            dynamo=False,
            input_names=["latents"],
            output_names=["images"],
            dynamic_axes={"latents": {0: "count"}, "images": {0: "count"}},
            opset_version=_OPSET,
        )
    return path


def verify_onnx(generator: Generator, path: Path) -> float | None:
    """Return the largest difference between 16 images by ONNX Runtime and by PyTorch.

    The unit is that of images in [-1, 1]. None if ONNX Runtime is not installed. Raises UserError
    if the difference exceeds 1e-3.
    """
    try:
        runtime: Any = importlib.import_module("onnxruntime")  # has no type hints
    except ImportError:
        return None
    latents = sample_latents(generator, _VERIFIED_IMAGES, 1)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (images,) = session.run(None, {"latents": latents.numpy()})
    expected = generate_images(generator, latents)
    difference = float((torch.from_numpy(images) - expected).abs().max())
    if not difference <= _TOLERANCE:  # also if it is not a number
        raise UserError(
            f"{path}: its images differ from PyTorch's by up to {difference:.2g}; expected at most "
            f"{_TOLERANCE:g}. Try another version of onnxruntime."
        )
    return difference
