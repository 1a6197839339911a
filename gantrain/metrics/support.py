"""Which metrics the images at hand and their features support, and why others are left out."""

from collections.abc import Callable
from dataclasses import dataclass

from gantrain.config.quality import (
    BY_CLASSES,
    BY_CONDITION,
    BY_FEATURES,
    BY_HELD_OUT,
    BY_NEIGHBOURS,
    BY_PIXELS,
    BY_TWO_SAMPLES,
    MIN_TWO_SAMPLES,
)
from gantrain.metrics.by_class import MIN_IMAGES_OF_CLASS
from gantrain.metrics.classifier import HeldOutTest
from gantrain.metrics.coverage import MIN_ACCURACY
from gantrain.metrics.neighbours import NEIGHBOURS

MIN_REAL_IMAGES = 10  # for the metrics that use features
MIN_HELD_OUT_IMAGES = 20  # for the metrics of BY_HELD_OUT
MIN_COVERAGE = 0.9  # of unseen real images, relative to that of two samples of one distribution


@dataclass(frozen=True)
class Sizes:
    """What there is to measure with.

    samples, real, held_out: number of generated images, of training images with features, and of
        held-out images. dimension: number of features of an image.
    labels: whether the training images have classes.
    test: how the data set's classifier does on held-out images; None if it is not used, or not
        known yet: then it counts as good enough.
    conditioned: number of classes that the images are made for; 0 if they are not.
    """

    samples: int
    real: int
    held_out: int
    dimension: int
    labels: bool = False
    test: HeldOutTest | None = None
    conditioned: int = 0


def measured_names(features: str, sizes: Sizes) -> list[str]:
    """Return the names of the metrics that `measure` returns where all of them are finite.

    features: the name of their kind.
    """
    names = [f"{name}_{features}" for name in BY_FEATURES]
    if sizes.labels:
        names += BY_CLASSES
    if sizes.conditioned:
        names += BY_CONDITION
    names += BY_PIXELS
    names += BY_HELD_OUT
    names += BY_TWO_SAMPLES
    left_out = unsupported(features, sizes)
    return [name for name in (f"quality/{name}" for name in names) if name not in left_out]


def unsupported(features: str, sizes: Sizes) -> dict[str, str]:
    """Return the metrics that are not measured, and why: `quality/NAME` and one sentence."""
    reasons: dict[str, str] = {}

    def leave_out(names: tuple[str, ...], reason: str, suffix: str = "") -> None:
        for name in names:
            reasons.setdefault(f"quality/{name}{suffix}", reason)

    suffix, test = f"_{features}", sizes.test
    if sizes.real < MIN_REAL_IMAGES:
        leave_out(
            BY_FEATURES,
            f"there are only {sizes.real} training images, and {MIN_REAL_IMAGES} are needed",
            suffix,
        )
    if sizes.real < 2:
        leave_out(("diversity",), "there is only one training image to compare with")
    if min(sizes.samples, sizes.real) < 2 * sizes.dimension:
        leave_out(
            ("fid",),
            f"{2 * sizes.dimension} generated and as many training images are needed, twice the "
            f"{sizes.dimension} features, and there are {sizes.samples} and {sizes.real}",
            suffix,
        )
    fewest = 2 * (NEIGHBOURS + 1)  # so that half of them have these neighbours too
    if min(sizes.samples, sizes.real) < fewest:
        leave_out(BY_NEIGHBOURS, f"{fewest} generated and training images are needed", suffix)
    if features == "classifier" and test is not None and not test.coverage >= MIN_COVERAGE:
        leave_out(BY_NEIGHBOURS, _neighbour_reason(test), suffix)
    if sizes.labels and test is not None and not test.accuracy >= MIN_ACCURACY:
        leave_out(BY_CLASSES, _accuracy_reason(test))
        if sizes.conditioned:
            leave_out(("class_accuracy",), _accuracy_reason(test))
    if sizes.conditioned:
        _leave_out_by_condition(sizes, leave_out)
    if min(sizes.samples, sizes.real) < MIN_TWO_SAMPLES:
        leave_out(BY_TWO_SAMPLES, f"{MIN_TWO_SAMPLES} generated and training images are needed")
    if sizes.held_out < MIN_HELD_OUT_IMAGES:
        leave_out(
            BY_HELD_OUT,
            f"{MIN_HELD_OUT_IMAGES} held-out images are needed, and there are {sizes.held_out}",
        )
    return reasons


def notices(features: str, sizes: Sizes) -> list[str]:
    """Return a line for each reason why metrics are not measured, for display.

    Metrics of held-out images are not mentioned where none are held out.
    """
    names: dict[str, list[str]] = {}
    for name, reason in unsupported(features, sizes).items():
        if sizes.held_out or name.removeprefix("quality/") not in BY_HELD_OUT:
            names.setdefault(reason, []).append(name.removeprefix("quality/"))
    return [f"not measured: {', '.join(each)}: {reason}." for reason, each in names.items()]


def _leave_out_by_condition(
    sizes: Sizes, leave_out: Callable[[tuple[str, ...], str], None]
) -> None:
    if not sizes.labels:
        leave_out(("class_accuracy",), "there is no classifier of the data set's classes")
    fewest = MIN_IMAGES_OF_CLASS * sizes.conditioned
    if min(sizes.samples, sizes.real) < fewest:
        leave_out(
            ("class_diversity",),
            f"{fewest} generated and training images of {sizes.conditioned} classes are needed, "
            f"and there are {sizes.samples} and {sizes.real}",
        )


def _neighbour_reason(test: HeldOutTest) -> str:
    if not test.images:
        return "whether these features suit images that they were not learnt from is unknown"
    return (
        "these features do not suit images that they were not learnt from: real ones have "
        f"{test.coverage:.2f} times the coverage that they should have; {MIN_COVERAGE} is needed"
    )


def _accuracy_reason(test: HeldOutTest) -> str:
    if not test.images:
        return "the classifier's accuracy is unknown, since there are too few images to hold out"
    return (
        f"the classifier is right on {test.accuracy:.0%} of {test.images:,} held-out images, and "
        f"{MIN_ACCURACY:.0%} is needed"
    )
