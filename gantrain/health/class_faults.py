"""Problems of generators that are asked for images of a class. Each function is a Detector."""

import statistics
from collections.abc import Mapping, Sequence

from gantrain.config.quality import class_name_of
from gantrain.health.quality_faults import classes_shown
from gantrain.health.signals import LogLine, is_rising, ratios, relative_spreads, values_of
from gantrain.health.state import HealthState
from gantrain.health.trend import improves

_ALIKE = 0.25  # of the mean squared difference of two real images of a class
_MANY_TWINS = 0.3  # of the pairs of a class: those of about three different images
_SAME = 0.01  # of the spread of real images; classes with less are one image each in the data too
_FLAT = 0.3  # of the root of that difference, between thumbnails, of a class that has collapsed
_CLASSES = 0.1  # of the classes that have to be so
_LEARNING_STEPS = 1000  # generator steps after which G must have learnt what classes are
_MEASUREMENTS = 3
_NOTHING = 0.01  # of the mean squared difference of two real images of a class
_BY_CHANCE = 0.25  # of the accuracy on real images, above that of chance
_NAMED = 3  # classes in the evidence


def detect_alike_within_classes(
    state: HealthState, lines: Sequence[LogLine], slack: float
) -> str | None:
    """Images of different classes differ, but those of one class hardly do: G ignores its latents.

    No spread over a batch shows that, since it is mostly that between the classes. The images of a
    young generator are all alike, those of different classes as much as those of one.
    """
    spreads = ratios(lines, "health/fake_class_spread", "health/real_class_spread")
    varied = ratios(lines, "health/real_class_spread", "health/real_spread")
    if not spreads or min(varied, default=1.0) < _SAME:
        return None
    if slack == 1 and (improves(state) or _grows(spreads)):
        return None
    whole = relative_spreads(lines)
    of_classes = bool(whole) and statistics.median(spreads) < 0.5 * statistics.median(whole)
    if of_classes and max(spreads) < _ALIKE / slack:
        return (
            f"generated images of a class differ at most {max(spreads):.0%} as much as real images "
            "of a class"
        )
    return _twins_of_classes(lines, slack)


def _twins_of_classes(lines: Sequence[LogLine], slack: float) -> str | None:
    fake, real = (values_of(lines, f"health/{kind}_class_twins") for kind in ("fake", "real"))
    if not fake or not real or min(fake) <= 0:
        return None
    if slack == 1 and is_rising([-value for value in fake]):
        return None
    share, usual = statistics.mean(fake), statistics.mean(real)
    if share < slack * max(_MANY_TWINS, 5 * usual):
        return None
    return (
        f"two generated images of a class are almost the same in {share:.0%} of all pairs, so that "
        f"there are about {1 / share:.0f} different ones of each; of real pairs, {usual:.1%} are"
    )


def detect_flat_classes(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Some classes have been one image each, in effect, in the last measurements."""
    recent = state.measurements[-_MEASUREMENTS:]
    means = values_of(recent, "quality/class_diversity")
    if len(means) < _MEASUREMENTS or (slack == 1 and (improves(state) or is_rising(means))):
        return None
    each = [_of_classes(line.signals, "diversity") for line in recent]
    newest, limit = each[-1], _FLAT / slack
    if not newest and max(means) < limit:  # too many classes to log each
        return f"generated images of a class differ {means[-1]:.0%} as much as real ones of it"
    flat = [x for x in newest if all(classes.get(x, limit) < limit for classes in each)]
    if not flat or len(flat) < _CLASSES * slack * len(newest):
        return None
    worst = sorted(flat, key=lambda name: newest[name])[:_NAMED]
    named = ", ".join(f"{name}: {newest[name]:.0%} as much as real ones" for name in worst)
    more = ", …" if len(flat) > _NAMED else ""
    return (
        f"generated images of a class hardly differ in {len(flat)} of {len(newest)} classes "
        f"({named}{more})"
    )


def detect_ignored_classes(
    state: HealthState, lines: Sequence[LogLine], slack: float
) -> str | None:
    """G makes images of all classes, but of any whatever the class that it is asked for.

    Images that show no class say nothing of that; a poor generator has other problems.
    """
    recent = state.measurements[-_MEASUREMENTS:]
    found = [line.signals for line in recent if "quality/class_accuracy" in line.signals]
    real = values_of(recent, "quality/classes_accuracy")
    if len(found) < _MEASUREMENTS or len(real) < _MEASUREMENTS:
        return None
    covered = classes_shown(recent)
    if recent[0].g_steps < _LEARNING_STEPS or len(covered) < _MEASUREMENTS or min(covered) < 0.5:
        return None
    beyond = [_beyond_chance(signals) for signals in found]
    if max(beyond) >= _BY_CHANCE / slack * min(real) or beyond[-1] > beyond[0] + 0.05:
        return None
    count = len(_of_classes(found[-1], "accuracy"))
    chance = f", by chance {1 / count:.0%} would" if count else ""
    return (
        f"{found[-1]['quality/class_accuracy']:.0%} of the generated images show the class that "
        f"they were made for{chance}; the classifier is right on {real[-1]:.0%} of real ones"
    )


def _grows(spreads: Sequence[float]) -> bool:
    """Return whether spreads grow, and are not next to nothing, where they grow by rounding."""
    return is_rising(spreads) and max(spreads) > _NOTHING


def _beyond_chance(signals: Mapping[str, float]) -> float:
    """Return by how much more often images show their class than those that ignore it; 1 is always.

    Whatever classes a generator makes that ignores the class, its accuracies of all classes sum to
    1 (Youden 1950). Without them, where there are very many, chance hits next to none.
    """
    each = _of_classes(signals, "accuracy")
    if len(each) < 2:
        return signals["quality/class_accuracy"]
    return (sum(each.values()) - 1) / (len(each) - 1)


def _of_classes(signals: Mapping[str, float], kind: str) -> dict[str, float]:
    """Return the accuracy or the diversity of each class in a measurement."""
    named = ((class_name_of(metric, kind), value) for metric, value in signals.items())
    return {name: value for name, value in named if name is not None}
