"""All quality metrics of a set of generated images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gantrain.common.statistics import Interval
from gantrain.config.quality import MAX_LOGGED_CLASSES, OF_ONE_CLASS, interval_names
from gantrain.metrics.by_class import (
    ClassScore,
    Labels,
    accuracies,
    accuracy_interval,
    class_diversity,
    class_hits,
)
from gantrain.metrics.by_features import feature_metrics
from gantrain.metrics.by_pixels import Metrics, nearest_metrics, pixel_metrics
from gantrain.metrics.coverage import count_classes
from gantrain.metrics.features import Features
from gantrain.metrics.intervals import fraction_interval
from gantrain.metrics.new_critic import critic_distance
from gantrain.metrics.reference import Reference, to_thumbnails
from gantrain.metrics.support import MIN_HELD_OUT_IMAGES, Sizes, measured_names
from gantrain.metrics.two_sample import two_sample_test


@dataclass(frozen=True)
class Measurement:
    """The metrics of a set of images.

    scores: by `quality/NAME`; those that use features end in the features' name.
    intervals: 95% intervals of the scores, by the same names.
    by_class: of images that were made for a class each, by its key.
    """

    scores: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    by_class: dict[str, ClassScore] = field(default_factory=dict)

    def logged(self) -> dict[str, float]:
        """Return the scores, and the ends of their intervals as `interval/NAME_low` and `_high`.

        Of up to a hundred classes also the accuracy and the diversity of each, as
        `class/accuracy/CLASS` and `class/diversity/CLASS`.
        """
        ends: dict[str, float] = {}
        for name, interval in self.intervals.items():
            ends |= zip(interval_names(name), interval, strict=True)
        return {**self.scores, **ends, **self._of_classes()}

    def _of_classes(self) -> dict[str, float]:
        if len(self.by_class) > MAX_LOGGED_CLASSES:
            return {}
        return {
            f"{OF_ONE_CLASS}{kind}/{name}": value
            for kind in ("accuracy", "diversity")
            for name, score in self.by_class.items()
            if math.isfinite(value := getattr(score, kind))
        }


def sizes_of(reference: Reference, features: Features, samples: int, conditioned: int = 0) -> Sizes:
    """Return how many images there are to measure `samples` generated images with.

    conditioned: number of classes that these are made for.
    """
    return Sizes(
        samples=samples,
        real=len(reference.features),
        held_out=len(reference.held_out_images),
        dimension=reference.features.shape[1],
        labels=len(reference.class_frequencies) > 0,
        test=features.test,
        conditioned=conditioned,
    )


def measure(
    images: Tensor,
    described: Tensor,
    logits: Tensor,
    features: Features,
    reference: Reference,
    labels: Labels | None = None,
) -> Measurement:
    """Return the metrics that these images and the reference support, and their intervals.

    images: uint8 (N, C, S, S), generated.
    described, logits: (N, D) and (N, K), what `features.describe` returns for them.
    labels: the classes that they were made for, as the reference has them; None without.

    Features are divided by the root of their mean variance over the real images, so that a FID
    equal to their number is as far from the data as the data are spread. Inception features are not
    scaled, as usual. Computed on the CPU. `support.unsupported` says what is left out, and why.
    """
    images, described = images.cpu(), described.cpu()
    conditioned = len(labels.names) if labels is not None else 0
    sizes = sizes_of(reference, features, len(images), conditioned)
    names = measured_names(features.name, sizes)
    metrics = pixel_metrics(images, reference.images)
    if f"quality/kid_{features.name}" in names:
        metrics |= feature_metrics(
            reference.features,
            described,
            features.name,
            with_fid=f"quality/fid_{features.name}" in names,
            with_neighbours=f"quality/precision_{features.name}" in names,
        )
    if "quality/classes_made" in names and features.test is not None:
        counts = count_classes(logits.cpu(), reference.class_frequencies, features.test)
        ranges, accuracy = counts.intervals(), features.test.accuracy
        metrics |= {name: (value, ranges[name]) for name, value in counts.metrics().items()}
        metrics["classes_accuracy"] = accuracy, fraction_interval(accuracy, features.test.images)
    by_class: dict[str, ClassScore] = {}
    if labels is not None:
        found, by_class = _class_metrics(images, logits, features, reference, labels, names)
        metrics |= found
    if "quality/memorisation" in names:
        metrics |= nearest_metrics(images, reference.thumbnails, reference.held_out_thumbnails)
    if "quality/c2st" in names:
        metrics["c2st"] = two_sample_test(reference.images, images)
        metrics["critic_distance"] = critic_distance(reference.images, images)
    by_name = {f"quality/{name}": metric for name, metric in metrics.items()}
    finite = [name for name in names if all(map(math.isfinite, _numbers(by_name[name])))]
    return Measurement(
        {name: float(by_name[name][0]) for name in finite},
        {name: by_name[name][1] for name in finite},
        by_class,
    )


def _class_metrics(
    images: Tensor,
    logits: Tensor,
    features: Features,
    reference: Reference,
    labels: Labels,
    names: Sequence[str],
) -> tuple[Metrics, dict[str, ClassScore]]:
    """Return those of class_accuracy and class_diversity that are among the names."""
    metrics: Metrics = {}
    nan = torch.full((len(labels.names),), math.nan, dtype=torch.float64)
    right = diverse = nan
    if "quality/class_accuracy" in names:
        hits = class_hits(logits, features.classes, labels)
        metrics["class_accuracy"], right = accuracy_interval(hits), accuracies(hits, labels)
    if "quality/class_diversity" in names:
        real = reference.thumbnails[: len(reference.classes)]
        found = class_diversity(real, reference.classes, to_thumbnails(images), labels)
        metrics["class_diversity"], diverse = (found.mean, found.interval), found.of_class
    counts = torch.bincount(labels.index, minlength=len(labels.names)).tolist()
    scores = zip(counts, right.tolist(), diverse.tolist(), strict=True)
    each = zip(labels.names, scores, strict=True)
    return metrics, {name: ClassScore(*score) for name, score in each}


def measure_held_out(
    features: Features, reference: Reference, class_names: tuple[str, ...] = ()
) -> Measurement:
    """Return the metrics of held-out images in place of generated ones.

    They are the values of a perfect generator: one that also generates what is not in the
    training images. Empty with fewer than 20 held-out images.

    class_names: those of the reference; empty without.
    """
    held_out = reference.held_out_images
    if len(held_out) < MIN_HELD_OUT_IMAGES:
        return Measurement()
    labels = Labels(class_names, reference.held_out_classes) if class_names else None
    return measure(held_out, *features.describe(held_out), features, reference, labels)


def _numbers(metric: tuple[float, Interval]) -> tuple[float, ...]:
    value, interval = metric
    return (value, *interval)
