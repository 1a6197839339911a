"""The generator as ONNX, held against PyTorch."""

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
_CHECKED = 16  # images
_MOST_DIFFERENCE = 1e-3  # of images in [-1, 1]: an eighth of a grey level


def export_onnx(generator: Generator, path: Path) -> Path:
    """Write `latents` float32 (N, latent_size) to `images` float32 (N, C, S, S) in [-1, 1].

    Any N. Gives the path.
    """
    generator = generator.eval()
    example = sample_latents(generator, 2, 0)
    with replacing(path) as temporary, warnings.catch_warnings():
        # The exporter that replaces this one needs two more packages.
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


def check_onnx(generator: Generator, path: Path) -> float | None:
    """The largest difference of 16 images by ONNX Runtime and by PyTorch, in units of [-1, 1].

    None where ONNX Runtime is not installed. Raises UserError if it is too large.
    """
    try:
        runtime: Any = importlib.import_module("onnxruntime")  # nobody has types of it
    except ImportError:
        return None
    latents = sample_latents(generator, _CHECKED, 1)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {"latents": latents.numpy()})
    off = float((torch.from_numpy(made) - generate_images(generator, latents)).abs().max())
    if not off <= _MOST_DIFFERENCE:
        raise UserError(
            f"{path}: its images differ from PyTorch's by up to {off:.2g}; expected "
            f"{_MOST_DIFFERENCE:g} at most. Try another version of onnxruntime."
        )
    return off
