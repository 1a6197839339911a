"""Exports a generator to ONNX and verifies it against PyTorch."""

import importlib
import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from gantrain.common.errors import UserError
from gantrain.common.extras import missing_packages
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

    With conditioning, a second input `classes`: float32 (N, K), a weight for each class, 1 for that
    of the image and 0 elsewhere; between two such rows lie mixtures of two classes. The file's
    metadata has `classes`, the keys of the classes as a JSON list in the order of the weights.

    Raises UserError if the package onnx is missing.
    """
    if importlib.util.find_spec("onnx") is None:  # which torch wants
        raise missing_packages("Exports to ONNX", "onnx")
    generator = generator.eval()
    names = generator.conditioning.class_names
    inputs: dict[str, Tensor] = {"latents": sample_latents(generator, 2, 0)}
    if names:
        inputs["classes"] = torch.eye(len(names))[[0, len(names) - 1]]
    with replacing(path) as temporary, warnings.catch_warnings():
        # The new exporter (dynamo=True) needs two more packages.
        warnings.simplefilter("ignore", DeprecationWarning)
        # A layer may choose how to compute by the size of its maps, which is always the same.
        warnings.simplefilter("ignore", TracerWarning)
        torch.onnx.export(
            generator,
            tuple(inputs.values()),
            str(temporary),
            dynamo=False,
            input_names=list(inputs),
            output_names=["images"],
            dynamic_axes={name: {0: "count"} for name in (*inputs, "images")},
            opset_version=_OPSET,
        )
        if names:
            with temporary.open("ab") as file:
                file.write(_metadata("classes", json.dumps(names)))
    return path


def verify_onnx(generator: Generator, path: Path) -> float | None:
    """Return the largest difference between images by ONNX Runtime and by PyTorch.

    Compares 16 images, or with conditioning one of each class if that is more, and mixtures of two
    classes. The unit is that of images in [-1, 1]. None if ONNX Runtime is not installed. Raises
    UserError if the difference exceeds 1e-3.
    """
    try:
        runtime: Any = importlib.import_module("onnxruntime")  # has no type hints
    except ImportError:
        return None
    known = len(generator.conditioning.class_names)
    latents = sample_latents(generator, max(_VERIFIED_IMAGES, 2 * known), 1)
    classes = _each_class(known, len(latents)) if known else None
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batches = []
    for rows in torch.split(torch.arange(len(latents)), _VERIFIED_IMAGES):
        inputs = {"latents": latents[rows].numpy()}
        if classes is not None:
            inputs["classes"] = classes[rows].numpy()
        batches.append(torch.from_numpy(session.run(None, inputs)[0]))
    expected = generate_images(generator, latents, classes)
    difference = float((torch.cat(batches) - expected).abs().max())
    if not difference <= _TOLERANCE:  # also if it is not a number
        raise UserError(
            f"{path}: its images differ from PyTorch's by up to {difference:.2g}; expected at most "
            f"{_TOLERANCE:g}. Try another version of onnxruntime."
        )
    return difference


def _each_class(known: int, count: int) -> Tensor:
    """Return weights (count, known): each class in turn, then each one mixed with the next."""
    alone = torch.eye(known)
    mixed = (alone + alone.roll(-1, 0)) / 2
    return torch.cat([alone, mixed])[torch.arange(count) % (2 * known)]


def _metadata(key: str, value: str) -> bytes:
    """Return the bytes that add an entry to the metadata of an ONNX file when they are appended.

    A file is a Protocol Buffers message, and such messages are merged by writing one after the
    other. Field 14 of ModelProto is a list of entries, with the key in field 1 and the value in 2.
    """
    entry = _field(1, key.encode()) + _field(2, value.encode())
    return _field(14, entry)


def _field(number: int, content: bytes) -> bytes:
    length, size = bytearray(), len(content)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return bytes([number << 3 | 2, *length]) + content
