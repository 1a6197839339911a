"""Evaluation of a trained generator, outside its training."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from gantrain.config import ConditioningConfig, DataConfig
from gantrain.config.quality import BY_CONDITION
from gantrain.data.loading.opening import open_dataset
from gantrain.data.loading.scratch import open_store
from gantrain.data.loading.selection import NO_CONDITIONING
from gantrain.metrics.by_class import Labels
from gantrain.metrics.by_pixels import unique_fraction
from gantrain.metrics.evaluator import generate_images
from gantrain.metrics.features import Features, open_features
from gantrain.metrics.floor import measure_floor
from gantrain.metrics.measure import Measurement, measure, measure_held_out, sizes_of
from gantrain.metrics.reference import Reference, open_reference
from gantrain.metrics.support import notices
from gantrain.models.networks import Generator

STAGES = ("images", "features", "metrics")  # of the evaluation of a generator
_FEW_UNIQUE = 0.5  # relative to real images


@dataclass(frozen=True)
class RealImages:
    """The real images that generators of a data set are measured against, and what these score.

    samples: number of images to generate. floor, held_out: see `Evaluation`.
    class_names: classes of the images in the order of their indices; empty if they are not used.
    notices: what is not measured, and why.
    """

    samples: int
    features: Features
    reference: Reference
    floor: Measurement
    held_out: Measurement
    notices: list[str]
    class_names: tuple[str, ...] = ()


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


def open_real_images(
    data: DataConfig,
    *,
    samples: int,
    features_kind: str,
    conditioning: ConditioningConfig = NO_CONDITIONING,
) -> RealImages:
    """Measure the real images of a data set, once for all generators, on the CPU.

    samples: number of images to generate.
    features_kind: a value of `metrics.features`.
    conditioning: that of the generators. If it is active, generated images are compared with real
        ones of their class, where the data set has classes.

    Raises UserError if the data set or the features are not available.
    """
    if len(data.classes or open_store(data).manifest().classes) < 2:
        conditioning = NO_CONDITIONING
    dataset = open_dataset(data, conditioning)
    class_names = tuple(dataset.class_counts())
    features = open_features(features_kind, data, dataset.decoded, torch.device("cpu"))
    reference = open_reference(dataset, features, data, samples)
    floor, few = measure_floor(dataset, features, reference, samples)
    lines = notices(features.name, sizes_of(reference, features, samples, len(class_names)))
    held_out = measure_held_out(features, reference, class_names)
    lines = [*lines, *few]
    return RealImages(samples, features, reference, floor, held_out, lines, class_names)


def evaluate_generator(
    generator: Generator,
    real: RealImages,
    *,
    seed: int,
    advance: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure a generator against real images, on the CPU.

    seed: seed of the latents. advance: called with the `STAGES` done and their number.

    Raises UserError if the generator's images are not finite.
    """

    def done(stage: str) -> None:
        if advance is not None:
            advance(STAGES.index(stage) + 1, len(STAGES))

    images = generate_images(generator, seed, real.samples)
    done("images")
    described = real.features.describe(images)
    done("features")
    labels = Labels.asked_for(generator, seed, real.samples)
    unlike = _unlike_classes(labels, real.class_names)
    if unlike:
        labels = None
    measured = measure(images, *described, real.features, real.reference, labels)
    done("metrics")
    return Evaluation(
        measured,
        real.held_out,
        real.floor,
        real.features.description,
        [*real.notices, *unlike, *_repetitions(images, real.reference)],
    )


def _unlike_classes(labels: Labels | None, class_names: tuple[str, ...]) -> list[str]:
    """Return a line if the classes of generated images, or that they have none, do not go with
    those of the real images."""
    if (labels.names if labels is not None else ()) == class_names:
        return []
    reason = "the generator makes images without a class"
    if labels is not None:
        reason = f"the generator makes images of {len(labels.names)} other classes than the data's"
        if not class_names:
            reason = "the data set has no classes"
    return [f"not measured: {', '.join(BY_CONDITION)}: {reason}."]


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
