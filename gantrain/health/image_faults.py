"""Problems that the pixels of real and generated images show. Each function is a Detector."""

import statistics
from collections.abc import Sequence

from gantrain.health.signals import (
    LogLine,
    is_rising,
    ratios,
    relative_spreads,
    thirds,
    values_of,
)
from gantrain.health.state import HealthState
from gantrain.health.training_faults import TINY_GRADIENT, detect_strong_d
from gantrain.health.trend import improves
from gantrain.health.weight_faults import slow_discriminator

_PATIENCE_STEPS = 200  # generator steps for which a spread must not have grown
_HALF = 0.6  # of the range of real images, which is a bit more than half
_TELLING = 0.8  # of that range, if D tells all images from real ones
_PINNED = 0.02  # relative difference of ranges that are the same
_LEARNING = 1e-3  # relative change of G's weights in a step
_RECOVERS = 0.25  # relative change of a spread or of twins that is no chance
_YOUNG_STEPS = 500  # generator steps up to which images may be alike, if little is measured
_MANY_TWINS = 0.08  # of all pairs: those of about twelve different images, as one of each class
_ALL = 0.95  # of the pixels, and a few at which the output changes from black to white
_MOST_TWINS = 0.5  # of all pairs: those of two different images
_NARROW = 0.1  # half of the range of real images, in units of what pixels can have


def detect_unsuitable_data(
    state: HealthState, lines: Sequence[LogLine], slack: float
) -> str | None:
    """The real images are all the same, or use a small part of the range of pixels."""
    spreads, extents = values_of(lines, "health/real_spread"), values_of(lines, "health/real_range")
    if spreads and max(spreads) < 1e-6 / slack:
        return "the real images are all the same"
    if extents and max(extents) < _NARROW / slack:
        levels = 255 * statistics.median(extents)
        return (
            f"real images use {levels:.0f} of the 255 grey levels from their darkest to their "
            "brightest pixel"
        )
    return None


def detect_spread_collapse(
    state: HealthState, lines: Sequence[LogLine], slack: float
) -> str | None:
    """Generated images are alike, and do not become less so.

    G and D chase each other while they are young: G then runs into a few images, and leaves them
    once D has learnt to reject these, within 100 to 300 steps or more slowly, step by step.
    """
    evidence = detect_alike(state, lines, slack)
    return None if slack == 1 and _recovers(lines) else evidence


def detect_alike(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Generated images are alike at present.

    The images of an untrained generator are alike too. It has collapsed only if their spread was
    different before, or if G receives gradients; otherwise it is stalled. It is young, not
    collapsed, while their spread grows or their quality improves. A collapse ends when images
    differ again: FID may improve by their colours alone.
    """
    spreads = relative_spreads(lines)
    if not spreads or max(spreads) >= 0.25 / slack:
        return None
    if slack == 1 and _is_young(state, lines, spreads):
        return None
    gradients = values_of(lines, "health/g_grad_norm")
    if not _has_changed(state) and min(gradients, default=0.0) <= TINY_GRADIENT:
        return None
    return f"generated images differ at most {max(spreads):.0%} as much as real images"


def detect_twins(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Many generated images are copies of each other, as with one image of each class.

    A FID that improves says something of G only if it makes more than an image or two: else it is
    their colours that improve.
    """
    twins = values_of(lines, "health/fake_twins")
    recovers = improves(state) and min(twins, default=0.0) < _MOST_TWINS
    if slack == 1 and (recovers or _recovers(lines)):
        return None
    lasts = all(_twins(third, slack) for third in thirds(lines))
    return _twins(lines, slack) if lasts else None


def _twins(lines: Sequence[LogLine], slack: float) -> str | None:
    fake, real = values_of(lines, "health/fake_twins"), values_of(lines, "health/real_twins")
    if not fake or not real:
        return None
    share, usual = statistics.mean(fake), statistics.mean(real)
    if min(fake) <= 0 or share < slack * max(_MANY_TWINS, 5 * usual):
        return None
    return (
        f"two generated images are almost the same in {share:.0%} of all pairs, so that there are "
        f"about {1 / share:.0f} different ones; of real pairs, {usual:.1%} are"
    )


def detect_outrun(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Generated images are alike because D is far too slow to answer G.

    A D that learns faster helps, as with other collapses; that it also looks diverging, since it
    cannot follow, is less urgent.
    """
    slow = slow_discriminator(lines, slack)
    if slow is None:
        return None
    alike = detect_alike(state, lines, slack)
    if not alike and not improves(state):
        alike = _twins(lines, slack)
    return f"{alike}; {slow}" if alike else None


def detect_saturation(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Nearly all generated pixels are black or white, and real ones are not."""
    return None if improves(state) else _saturation(lines, slack)


def detect_saturated_output(
    state: HealthState, lines: Sequence[LogLine], slack: float
) -> str | None:
    """Nearly all generated pixels have been black or white from the first log line on.

    As with a wrong output function; a G that D drives to extremes begins with grey images. That D
    is too strong, or that the quality still improves, is then of less interest.
    """
    if state.min_saturated is None or state.min_saturated < _ALL * slack:
        return None
    return _saturation(lines, slack)


def _saturation(lines: Sequence[LogLine], slack: float) -> str | None:
    fake, real = (values_of(lines, f"health/{kind}_saturated") for kind in ("fake", "real"))
    if not fake or not real:
        return None
    if 1 - min(fake) >= 0.2 / slack * (1 - max(real)):
        return None
    return (
        f"{min(fake):.0%} of the generated pixels are black or white, of the real ones "
        f"{max(real):.0%}"
    )


def detect_narrow_range(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Generated images use about half of the range that real images use, and no more with time.

    Those of a generator that learns too slowly do so too: what holds it back is more urgent.
    """
    extents = ratios(lines, "health/fake_range", "health/real_range")
    if not extents or improves(state) or is_rising(extents, by=0.02):
        return None
    if max(extents) >= min(_HALF / slack, 0.75):
        return None
    return (
        f"generated images use {max(extents):.0%} of the range from dark to bright that real "
        "images use"
    )


def detect_pinned_range(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """The range of generated images ends at a bound below that of real images, though G learns.

    As with a wrong output function. D then tells all images by their contrast, and looks too
    strong; less of a difference shows in that only.
    """
    fake = values_of(lines, "health/fake_range")
    extents = ratios(lines, "health/fake_range", "health/real_range")
    changes = values_of(lines, "health/g_weight_change")
    if len(extents) < 3 or not changes or min(changes) < _LEARNING * slack or improves(state):
        return None
    if max(fake) - min(fake) > _PINNED / slack * max(fake):
        return None
    limit = _HALF if detect_strong_d(state, lines, slack) is None else _TELLING
    if max(extents) >= min(limit / slack, _TELLING):
        return None
    return (
        f"generated images use {max(extents):.0%} of the range from dark to bright that real "
        f"images use, and always {statistics.mean(fake):.0%} of what pixels can have"
    )


def _recovers(lines: Sequence[LogLine]) -> bool:
    """Return whether images differ more in the last third of the lines than before."""
    parts = thirds(lines)
    spreads = [statistics.median(found) for part in parts if (found := relative_spreads(part))]
    twins = [statistics.mean(f) for part in parts if (f := values_of(part, "health/fake_twins"))]
    return (bool(spreads) and spreads[-1] > (1 + _RECOVERS) * min(spreads)) or (
        bool(twins) and (1 + _RECOVERS) * twins[-1] < max(twins)
    )


def _is_young(state: HealthState, lines: Sequence[LogLine], spreads: Sequence[float]) -> bool:
    """Return whether the spread of the images has grown until lately, or their quality improves.

    Also whether it is too early for either: the images of some generators are alike for long.
    """
    peak, now = state.spread_peak, lines[-1].g_steps
    if improves(state):
        return True
    if now < _YOUNG_STEPS and len(state.measurements) < 2 and not _has_changed(state):
        return True
    if peak is None:
        return False
    lately = now - peak.g_steps < max(_PATIENCE_STEPS, now / 4)
    # A spread that doubles from line to line is far above the median of these lines.
    holds = statistics.median(spreads) > 0.8 * peak.value or is_rising(spreads)
    return lately and holds and peak.value > 1.5 * (state.min_spread or 0.0)


def _has_changed(state: HealthState) -> bool:
    """Return whether the spread has been clearly higher than at another time."""
    return state.max_spread > 1.5 * (state.min_spread or 0.0)
