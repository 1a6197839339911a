"""Evaluation of a trained generator, outside its training."""

from dataclasses import dataclass

import torch

from gantrain.config import DataConfig
from gantrain.data.loading.opening import open_dataset
from gantrain.metrics.by_pixels import unique_fraction
from gantrain.metrics.evaluator import generate_images
from gantrain.metrics.features import open_features
from gantrain.metrics.floor import measure_floor
from gantrain.metrics.measure import Measurement, measure, measure_held_out, sizes_of
from gantrain.metrics.reference import Reference, open_reference
from gantrain.metrics.support import notices
from gantrain.models.networks import Generator

_FEW_UNIQUE = 0.5  # relative to real images


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a generator.

    generated: of its images.
    held_out: the same metrics of held-out real images; empty without any.
    floor: the same metrics of training images against other training images; empty if there are too
        few for two sets. It is what a perfect generator scores at these numbers of images.
    features: description of the features, for display.
    notices: what is not measured and why, and what makes the metrics misleading.
    """

    generated: Measurement
    held_out: Measurement
    floor: Measurement
    features: str
    notices: list[str]


def evaluate_generator(
    generator: Generator, data: DataConfig, *, samples: int, seed: int, features_kind: str
) -> Evaluation:
    """Measure a generator against the images of a data set, on the CPU.

    samples: number of images to generate.
    seed: seed of their latents.
    features_kind: a value of `metrics.features`.

    Raises UserError if the data set or the features are not available, or if the generator's images
    are not finite.
    """
    images = generate_images(generator, seed, samples)
    dataset = open_dataset(data)
    features = open_features(features_kind, data, dataset.decoded, torch.device("cpu"))
    reference = open_reference(dataset, features, data, samples)
    generated = measure(images, *features.describe(images), features, reference)
    lines = notices(features.name, sizes_of(reference, features, samples))
    floor, sizes = measure_floor(dataset, features, reference, samples)
    return Evaluation(
        generated,
        measure_held_out(features, reference),
        floor,
        features.description,
        [*lines, *sizes, *_repetitions(images, reference)],
    )


def _repetitions(images: torch.Tensor, reference: Reference) -> list[str]:
    """Return a line if many images repeat others, which FID and precision hardly punish."""
    count = min(len(images), len(reference.images))
    unique, real = (
        unique_fraction(images[:count].cpu(), reference.images),
        unique_fraction(reference.images[:count], reference.images),
    )
    if unique >= _FEW_UNIQUE * real:
        return []
    return [
        f"unique: only {unique:.0%} of {count:,} images repeat no other, but {real:.0%} of as "
        "many real ones: FID, KID and precision hardly show that."
    ]
