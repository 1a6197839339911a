"""What real images score against other real images: the best that a generator can be measured."""

import json
import math
from contextlib import suppress
from dataclasses import replace

import torch

from gantrain.common.files import write_json
from gantrain.common.rng import PositionalRNG
from gantrain.config import DataConfig
from gantrain.config.quality import BY_HELD_OUT
from gantrain.data.loading.datasets import ImageDataset
from gantrain.metrics.by_class import Labels
from gantrain.metrics.by_features import feature_scale
from gantrain.metrics.distances import kernel_distance
from gantrain.metrics.features import Features
from gantrain.metrics.measure import Measurement, measure, sizes_of
from gantrain.metrics.reference import Reference, reference_path
from gantrain.metrics.support import measured_names

_MAX_KERNEL_IMAGES = 2000
_DRAWS = 8  # of random directions

Marks = dict[str, dict[str, float]]


def open_floor(
    dataset: ImageDataset,
    features: Features,
    reference: Reference,
    config: DataConfig,
    samples: int,
) -> Marks:
    """Load the floor of a data set and its spread from the scratch, or measure and save them.

    Return `scores`, the floor as `Measurement.logged`, and `spread`, by `quality/NAME` the FID and
    the KID of the data moved by one standard deviation in each feature; KID depends on the
    directions, so that it is a mean over random ones. Both may be empty. Costs a measurement of
    `samples` images, if that has not been done before.
    """
    conditioned = len(dataset.class_counts())
    names = measured_names(features.name, sizes_of(reference, features, samples, conditioned))
    path = reference_path(dataset, features, config, samples)
    path = path.with_name(path.name.replace("real-", "floor-")).with_suffix(".json")
    with suppress(OSError, ValueError, TypeError, KeyError):
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved["names"] == names:  # as today's version measures
            return {"scores": saved["scores"], "spread": saved["spread"]}
    floor, _ = measure_floor(dataset, features, reference, samples)
    marks = {"scores": floor.logged(), "spread": _spread(reference, features, names)}
    with suppress(OSError):  # a full disk only means that the next run measures it again
        write_json(path, {"names": names, **marks}, durable=False)
    return marks


def measure_floor(
    dataset: ImageDataset, features: Features, reference: Reference, samples: int
) -> tuple[Measurement, list[str]]:
    """Measure training images against other training images, in as many as generated ones.

    Return the metrics, except memorisation, and a line if there were too few images for that: then
    each half of them is measured against the other, at most `samples` each.
    """
    real, lines = reference, []
    first, count = len(reference.features), samples
    if dataset.total < first + samples:
        first = dataset.total // 2
        count = min(samples, dataset.total - first)
        kept = min(first, len(reference.features))
        real = replace(
            reference, features=reference.features[:kept], images=reference.images[:kept]
        )
        lines = [
            f"floor: {count:,} training images against {kept:,} others, since there are no more. "
            "FID and KID of fewer images are larger or less certain."
        ]
    if count < 2:
        return Measurement(), []
    images, index = dataset.labelled_images(PositionalRNG(0, first, count))
    labels = None
    if index is not None:
        labels = Labels(tuple(dataset.class_counts()), index)
        real = replace(real, classes=real.classes[:first])
    measured = measure(images, *features.describe(images), features, real, labels)
    left_out = {f"quality/{name}" for name in BY_HELD_OUT}  # they are training images
    return Measurement(
        {k: v for k, v in measured.scores.items() if k not in left_out},
        {k: v for k, v in measured.intervals.items() if k not in left_out},
        measured.by_class,
    ), lines


def _spread(reference: Reference, features: Features, names: list[str]) -> dict[str, float]:
    if f"quality/kid_{features.name}" not in names:
        return {}
    real = reference.features.double()
    real = real / feature_scale(real, features.name)
    deviation = real.var(0).sqrt()
    spread = {}
    if f"quality/fid_{features.name}" in names:
        spread[f"quality/fid_{features.name}"] = float(deviation.square().sum())
    some = real[:_MAX_KERNEL_IMAGES]
    signs = torch.randint(0, 2, (_DRAWS, real.shape[1]), generator=torch.Generator().manual_seed(0))
    moved = [kernel_distance(some, some + deviation * (2 * sign - 1)) for sign in signs]
    spread[f"quality/kid_{features.name}"] = sum(moved) / _DRAWS
    return {name: value for name, value in spread.items() if math.isfinite(value)}
