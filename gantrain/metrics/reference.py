"""The real images' side of the metrics, computed once and kept in this machine's scratch."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gantrain.common.files import replacing
from gantrain.common.rng import PositionalRNG
from gantrain.config import DataConfig
from gantrain.data.loading.datasets import ImageDataset
from gantrain.data.loading.selection import held_out_rows, training_rows
from gantrain.metrics.features import Features
from gantrain.metrics.image_statistics import shrunk

_FEATURES = 5000  # real images whose features are compared with
_THUMBNAILS = 50_000  # training images among which copies are looked for
_THUMBNAIL = 16  # pixels a side


@dataclass(frozen=True)
class Reference:
    """What generated images are held against.

    features: float32 (N, D) of training images, in the order that seed 0 gives.
    images: uint8 (M, C, S, S) of the first of them.
    held_out, held_out_images: the same of images that no training sees; may be empty.
    thumbnails: float32 (T, d), training images at 16x16 in [-1, 1].
    held_out_thumbnails: float32 (H, d).
    shares: float64 (P,) of the features' parts in the training images; empty without labels.
    """

    features: Tensor
    images: Tensor
    held_out: Tensor
    held_out_images: Tensor
    thumbnails: Tensor
    held_out_thumbnails: Tensor
    shares: Tensor


def open_reference(
    dataset: ImageDataset, features: Features, config: DataConfig, samples: int, folder: Path
) -> Reference:
    """From `folder` if it is there for this selection of the set, else from the images.

    samples: images that are kept as they are.
    """
    key = f"{dataset.fingerprint} {features.name} {features.notice} {samples} {config.held_out}"
    path = folder / f"real-{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"
    try:
        return Reference(**load_file(path))
    except (OSError, SafetensorError, TypeError):
        made = _compute(dataset, features, config, samples)
        _keep(made, path)
        return made


def _keep(made: Reference, path: Path) -> None:
    """What cannot be kept is computed again next time; no training ends for that."""
    tensors = {field.name: getattr(made, field.name).contiguous() for field in fields(made)}
    with (
        suppress(OSError, SafetensorError),
        replacing(path, durable=False, concurrent=True) as temporary,
    ):
        save_file(tensors, temporary)


def thumbnails(images: Tensor) -> Tensor:
    """uint8 (N, C, S, S) to float32 (N, d): at most 16x16, in [-1, 1]."""
    parts = [shrunk(part, _THUMBNAIL).flatten(1) / 127.5 - 1 for part in torch.split(images, 1000)]
    return torch.cat(parts) if parts else torch.zeros(0, 1)


def _compute(
    dataset: ImageDataset, features: Features, config: DataConfig, samples: int
) -> Reference:
    count = min(dataset.total, _FEATURES)
    many = min(dataset.total, _THUMBNAILS)
    images = dataset.images(PositionalRNG(0, 0, count))
    cache = dataset.decoded
    if cache is not None:
        table = cache.table
        held_rows = held_out_rows(table, config)
        chosen = held_rows[
            np.linspace(0, len(held_rows) - 1, min(samples, len(held_rows)), dtype=int)
        ]
        held_out = cache.images[torch.from_numpy(chosen)]
        small = [
            thumbnails(dataset.images(PositionalRNG(0, start, min(1000, many - start))))
            for start in range(0, many, 1000)
        ]
        names = np.array(table.class_names)[table.class_index[training_rows(table, config)]]
        shares = [float(np.mean(names == part)) for part in features.parts]
    else:
        held_out = images[:0]
        small, shares = [thumbnails(images)], []
    described = features.describe(images)[0].cpu()
    return Reference(
        features=described,
        images=images[:samples],
        held_out=features.describe(held_out)[0].cpu() if len(held_out) else described[:0],
        held_out_images=held_out,
        thumbnails=torch.cat(small),
        held_out_thumbnails=thumbnails(held_out),
        shares=torch.tensor(shares, dtype=torch.float64),
    )
