"""The real images that generated ones are compared with, computed once and kept in the scratch."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gantrain.common.files import replacing
from gantrain.common.rng import PositionalRNG
from gantrain.common.tensors import save_tensors
from gantrain.config import DataConfig
from gantrain.data.loading.datasets import ImageDataset
from gantrain.data.loading.scratch import open_store
from gantrain.data.loading.selection import class_indices, held_out_rows, training_rows
from gantrain.metrics.classifier_store import features_folder
from gantrain.metrics.features import Features
from gantrain.metrics.image_statistics import downsample

_MAX_FEATURES = 5000  # real images to compute features of
_MAX_THUMBNAILS = 50_000  # training images to search for copies
_THUMBNAIL_SIZE = 16  # pixels a side
_BATCH_SIZE = 1000


def _no_classes() -> Tensor:
    return torch.zeros(0, dtype=torch.int64)


@dataclass(frozen=True)
class Reference:
    """Real images and their features.

    features: float32 (N, D), of training images in the order of seed 0.
    images: uint8 (M, C, S, S), the first of these images.
    held_out, held_out_images: features and images that are never trained on; may be empty.
    thumbnails: float32 (T, d), training images at 16x16 in [-1, 1].
    held_out_thumbnails: float32 (H, d).
    class_frequencies: float64 (K,), fraction of the training images in each class of the features;
        empty without labels.
    classes: int64 (T,), class of each thumbnail, as `ImageDataset.class_counts` has them; empty
        unless the data set was opened with classes.
    held_out_classes: int64 (H,).
    """

    features: Tensor
    images: Tensor
    held_out: Tensor
    held_out_images: Tensor
    thumbnails: Tensor
    held_out_thumbnails: Tensor
    class_frequencies: Tensor
    classes: Tensor = field(default_factory=_no_classes)
    held_out_classes: Tensor = field(default_factory=_no_classes)


def open_reference(
    dataset: ImageDataset, features: Features, config: DataConfig, samples: int
) -> Reference:
    """Load the reference of a data set from the scratch, or compute it and save it there.

    samples: number of training images, and of held-out images, to keep as images.
    """
    path = reference_path(dataset, features, config, samples)
    try:
        return Reference(**load_file(path))
    except (OSError, SafetensorError, TypeError):
        reference = _compute(dataset, features, config, samples)
        _save(reference, path)
        return reference


def reference_path(
    dataset: ImageDataset, features: Features, config: DataConfig, samples: int
) -> Path:
    """Return the reference's file in the scratch, which need not exist."""
    selection = f"{dataset.fingerprint} {features.name} {features.description} {samples}"
    selection += "".join(f" {name!r}" for name in dataset.class_counts())
    key = hashlib.sha256(f"{selection} {config.held_out}".encode()).hexdigest()[:16]
    store = open_store(config)
    return features_folder(store, store.manifest()) / f"real-{key}.safetensors"


def to_thumbnails(images: Tensor) -> Tensor:
    """Return uint8 images (N, C, S, S) as float32 (N, d) in [-1, 1], at most 16x16 pixels each."""
    batches = [
        downsample(batch, _THUMBNAIL_SIZE).flatten(1) / 127.5 - 1
        for batch in torch.split(images, _BATCH_SIZE)
    ]
    return torch.cat(batches) if batches else torch.zeros(0, 1)


def _save(reference: Reference, path: Path) -> None:
    tensors = {x.name: getattr(reference, x.name).contiguous() for x in fields(reference)}
    # A full disk only means that the next run computes it again.
    with (
        suppress(OSError, SafetensorError),
        replacing(path, durable=False, concurrent=True) as temporary,
    ):
        save_tensors(tensors, temporary)


def _compute(
    dataset: ImageDataset, features: Features, config: DataConfig, samples: int
) -> Reference:
    first = PositionalRNG(0, 0, min(dataset.total, _MAX_FEATURES))
    images, classes = dataset.labelled_images(first)
    counts, cache = dataset.class_counts(), dataset.decoded
    held_out_classes = None
    if cache is not None:
        table = cache.table
        rows, of_rows = held_out_rows(table, config, counts), class_indices(table, tuple(counts))
        rows = rows[np.linspace(0, len(rows) - 1, min(samples, len(rows)), dtype=int)]
        if of_rows is not None:
            held_out_classes = torch.from_numpy(of_rows[rows])
        held_out = cache.images[torch.from_numpy(rows)]
        thumbnails, classes = _training_thumbnails(dataset)
        if counts:
            frequencies = [counts.get(name, 0) / dataset.total for name in features.classes]
        else:
            found = np.array(table.class_names)[table.class_index[training_rows(table, config)]]
            frequencies = [float(np.mean(found == name)) for name in features.classes]
    else:
        held_out = images[:0]
        thumbnails, frequencies = to_thumbnails(images), []
    described = features.describe(images)[0].cpu()
    return Reference(
        features=described,
        images=images[:samples],
        held_out=features.describe(held_out)[0].cpu() if len(held_out) else described[:0],
        held_out_images=held_out,
        thumbnails=thumbnails,
        held_out_thumbnails=to_thumbnails(held_out),
        class_frequencies=torch.tensor(frequencies, dtype=torch.float64),
        classes=_no_classes() if classes is None else classes,
        held_out_classes=_no_classes() if held_out_classes is None else held_out_classes,
    )


def _training_thumbnails(dataset: ImageDataset) -> tuple[Tensor, Tensor | None]:
    count = min(dataset.total, _MAX_THUMBNAILS)
    batches = [
        PositionalRNG(0, start, min(_BATCH_SIZE, count - start))
        for start in range(0, count, _BATCH_SIZE)
    ]
    thumbnails, classes = [], []
    for batch in batches:
        images, index = dataset.labelled_images(batch)
        thumbnails.append(to_thumbnails(images))
        classes += [] if index is None else [index]
    return torch.cat(thumbnails), torch.cat(classes) if classes else None
