"""Problems that measurements of quality show. Each function is a Detector.

They need no losses: logs of other tools may have nothing but FID.
"""

import math
from collections.abc import Sequence

from gantrain.config.quality import DIMENSIONS
from gantrain.health.image_faults import detect_spread_collapse
from gantrain.health.signals import LogLine, values_of
from gantrain.health.state import HealthState
from gantrain.health.trend import (
    FALLEN,
    Trend,
    fell_far,
    is_better,
    is_possible_fid,
    position,
    trend_of,
)
from gantrain.health.verdict import NEAR

_SETTLED_STEPS = 250  # generator steps before which a blur counts as one class or another
_LEARNING_STEPS = 1000  # generator steps after which a run must have learnt something
# FIDs that are far from the data: as far as these are spread, if the features are scaled to a
# variance of 1. Inception's are not; an untrained generator has 300 to 450 by them.
_FAR_FID = {**DIMENSIONS, "brick": 128, "inception": 120, "": 120}
_FAR_SHARE = 0.5  # of the value of an untrained generator, for metrics without such a limit
_BY_CLASSES = 1.0  # of the spread of the data in features that are mostly of classes
_UNTRAINED_STEPS = 10  # up to which a generator counts as untrained
# Features by which real images are like other real ones; a classifier squeezes its classes.
_OPEN_FEATURES = ("lite0", "inception")
_CLASS_FEATURES = ("classifier", "brick")
_NO_CLASS = 0.5  # divergence in nats that unequal classes and a few unclear images may have
_MORE_EXTREMES = 0.2  # of all pixels, so that a person sees it
_NOTHING = 0.02  # a precision and a coverage that are next to nothing


def detect_falling_quality(
    state: HealthState, lines: Sequence[LogLine], slack: float
) -> str | None:
    """The last two measurements are far worse than the best, and not because G has collapsed."""
    trend = trend_of(state)
    if trend is None or len(trend.values) < 2 or detect_spread_collapse(state, state.course, slack):
        return None
    factor = 1 + (FALLEN - 1) * slack
    measured = [line for line in state.measurements if trend.metric in line.signals]
    # Milder thresholds are to be met by the newest measurement alone.
    indices = (-1,) if slack < 1 else (-2, -1)
    if not all(fell_far(trend, measured[index], factor, index) for index in indices):
        return None
    value, best = trend.values[-1], trend.best
    times = value / best.value if trend.ruler.goal == "lowest" else best.value / value
    return (
        f"{trend.label} is {value:.4g}, {times:.1f} times worse than its best, {best.value:.4g}"
        f"{position(best)}{_many_extremes(lines)}"
    )


def _many_extremes(lines: Sequence[LogLine]) -> str:
    """Return how many pixels are black or white, if many more than in real images; or nothing.

    A classifier of the data set takes a background that is too bright for a loss of quality.
    """
    fake, real = (values_of(lines, f"health/{kind}_saturated") for kind in ("fake", "real"))
    if not fake or not real or fake[-1] - real[-1] < _MORE_EXTREMES:
        return ""
    return (
        f"; {fake[-1]:.0%} of the generated pixels are black or white, and {real[-1]:.0%} of the "
        "real ones"
    )


def detect_never_learnt(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """After enough images, quality is far from the data and no longer improves."""
    trend = trend_of(state)
    absurd = _absurd_fid(state)
    if absurd is not None:
        return (
            f"the FID is {absurd:.3g}, which no distance can be: the generated or the real images "
            "are broken, or all the same"
        )
    if trend is not None and trend.improving:
        return None
    if (few := _few_classes(state, slack)) is not None:
        return few
    if trend is None or trend.g_steps[-1] < _LEARNING_STEPS or len(trend.values) < 4:
        return None
    half = len(trend.ranks) // 2
    early, late = min(trend.ranks[:half]), min(trend.ranks[half:])
    if late < early - 0.1 / slack * abs(early):
        return None
    far = _far_from_data(state, trend, slack)
    if far is None:
        return None
    return f"{trend.label} stays at {trend.values[-1]:.4g} after {trend.g_steps[-1]:,} steps{far}"


def detect_class_collapse(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Classes that G used to generate are missing, or some are that it never generated."""
    covered = classes_shown([x for x in state.measurements if x.g_steps >= _SETTLED_STEPS])
    if len(covered) < 3 or max(covered) < 0.5:
        return None
    best, current = max(covered), max(covered[-2:])
    if current < best * min(0.6 / slack, 1):
        return f"G generates {current:.0%} of the classes; earlier it generated {best:.0%}"
    trend = trend_of(state)
    young = state.measurements[-1].g_steps < _LEARNING_STEPS
    if young or (trend is not None and trend.gaining):
        return None
    if len(covered) >= 5 and best <= 0.85 and covered.index(best) <= len(covered) - 4:
        return f"G has never generated more than {best:.0%} of the classes"
    return None


def detect_same_images(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Images are good, but cover next to nothing of the data: a few images of each class."""
    trend = trend_of(state)
    if trend is None or trend.improving or len(trend.values) < 4:
        return None
    # Images that are far from the data are not good, whatever their precision: a classifier takes
    # what is like no class for the class that it is least unlike.
    if trend.g_steps[-1] < _LEARNING_STEPS or _far_from_data(state, trend, 1.0):
        return None
    features = trend.metric.rpartition("_")[2]
    if features in _CLASS_FEATURES:  # they squeeze the images of a class to a point
        return None
    recent = state.measurements[-3:]
    precision = values_of(recent, f"quality/precision_{features}")
    recall = values_of(recent, f"quality/recall_{features}")
    if len(precision) < 3 or len(recall) < 3:
        return None
    if min(precision) < 0.3 * slack or max(recall) > 0.02 / slack:
        return None
    return (
        f"{precision[-1]:.0%} of the generated images are like real ones, but only "
        f"{max(recall):.0%} of the real ones are like generated ones"
    )


def detect_memorisation(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Generated images are closer to training images than held-out images are."""
    copies = values_of(state.measurements, "quality/memorisation")
    if len(copies) >= 2 and min(copies[-2:]) > 0.3 * slack:
        return (
            f"{copies[-1]:.0%} of the images are less than half as far from a training image as "
            "held-out images are"
        )
    return None


def _absurd_fid(state: HealthState) -> float | None:
    """Return the newest FID if the last two cannot be distances."""
    last = [
        next((v for k, v in line.signals.items() if k.startswith("quality/fid")), 0.0)
        for line in state.measurements[-2:]
    ]
    return last[-1] if len(last) == 2 and not any(map(is_possible_fid, last)) else None


def classes_shown(lines: Sequence[LogLine]) -> list[float]:
    """Return the fraction of classes made in each measurement whose images show classes.

    A fraction c of classes, each as often as the others, diverges from all of them by ln(1/c). Much
    more means that most images show no class, as those of a young generator: then a class that
    was not counted may well be made.
    """
    names = ("quality/classes_covered", "quality/classes_divergence")
    pairs = [[values_of([line], name) for name in names] for line in lines]
    return [
        covered[0]
        for covered, divergence in pairs
        if covered
        and (not divergence or divergence[0] < _NO_CLASS - math.log(max(covered[0], 1e-3)))
    ]


def _few_classes(state: HealthState, slack: float) -> str | None:
    """Return what shows that G has never made half of the classes, and no more with time."""
    covered = classes_shown(state.measurements)
    if len(covered) < 4 or state.measurements[-1].g_steps < _LEARNING_STEPS:
        return None
    if not max(covered):  # no image shows a class, so that there is nothing to count
        return None
    if _makes_classes(state):  # G cannot miss most of them, so that the classifier does
        return None
    if max(covered) >= 0.5 / slack or max(covered[-3:]) > max(covered[:-3]):
        return None
    return f"G generates {covered[-1]:.0%} of the classes, and never more than {max(covered):.0%}"


def _makes_classes(state: HealthState) -> bool:
    """Return whether the newest FID is too low for a generator that misses most classes.

    It is near the data, as the verdict on quality says. In the features of a classifier the classes
    are most of the spread, so that any FID below that is too low.
    """
    trend = trend_of(state)
    if trend is None or not trend.metric.startswith("quality/fid_"):
        return False
    features = trend.metric.removeprefix("quality/fid_")
    share = _BY_CLASSES if features in _CLASS_FEATURES else NEAR["fid"]
    return features != "inception" and trend.values[-1] < share * _FAR_FID.get(features, 0)


def _far_from_data(state: HealthState, trend: Trend, slack: float) -> str | None:
    """Return what shows that the best measurement is far from the data, or None."""
    name = trend.metric.removeprefix("quality/")
    best = trend.best.value
    if name.startswith("fid") and trend.ruler.goal == "lowest":
        limit = _FAR_FID.get(name.removeprefix("fid").removeprefix("_"))
        if limit is not None and best > limit * slack:
            return f" (a trained generator is far below {limit:g})"
    features = name.rpartition("_")[2]
    if features in _OPEN_FEATURES:
        last = state.measurements[-3:]
        alike = [
            values_of(last, f"quality/{metric}_{features}") for metric in ("precision", "coverage")
        ]
        if all(len(each) == 3 and max(each) < _NOTHING / slack for each in alike):
            return (
                f", next to no generated image is like a real one (precision {alike[0][-1]:.2g}), "
                f"and no real one like a generated one (coverage {alike[1][-1]:.2g})"
            )
    first = state.first
    if first is None or first.g_steps > _UNTRAINED_STEPS or trend.ruler.goal != "lowest":
        return None
    untrained = first.signals.get(trend.metric)
    if untrained is not None and not is_better(best, _FAR_SHARE * slack * untrained):
        return f", and was {untrained:.4g} before the training"
    return None
