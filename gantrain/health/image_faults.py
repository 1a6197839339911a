"""Problems that the pixels of real and generated images show. Each function is a Detector."""

import statistics
from collections.abc import Sequence

from gantrain.health.signals import LogLine, is_rising, ratios, relative_spreads, values_of
from gantrain.health.state import HealthState
from gantrain.health.training_faults import TINY_GRADIENT
from gantrain.health.trend import trend_of

_PATIENCE_STEPS = 200  # generator steps for which a spread must not have grown
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
    """Generated images are alike.

    The images of an untrained generator are alike too. It has collapsed only if their spread was
    different before, or if G receives gradients; otherwise it is stalled. It is young, not
    collapsed, while their spread grows or their quality improves.
    """
    spreads = relative_spreads(lines)
    if not spreads or max(spreads) >= 0.25 / slack or _is_young(state, lines, spreads):
        return None
    changed = state.max_spread > 1.5 * (state.min_spread or 0.0)
    gradients = values_of(lines, "health/g_grad_norm")
    if not changed and min(gradients, default=0.0) <= TINY_GRADIENT:
        return None
    return f"generated images differ at most {max(spreads):.0%} as much as real images"


def detect_twins(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Many generated images are copies of each other, as with one image of each class."""
    fake, real = values_of(lines, "health/fake_twins"), values_of(lines, "health/real_twins")
    if not fake or not real or _improves(state) or is_rising([-value for value in fake]):
        return None
    share, usual = statistics.mean(fake), statistics.mean(real)
    if min(fake) <= 0 or share < slack * max(0.06, 5 * usual):
        return None
    return (
        f"two generated images are almost the same in {share:.0%} of all pairs, so that there are "
        f"about {1 / share:.0f} different ones; of real pairs, {usual:.1%} are"
    )


def detect_saturation(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Nearly all generated pixels are black or white, and real ones are not."""
    fake, real = (values_of(lines, f"health/{kind}_saturated") for kind in ("fake", "real"))
    if not fake or not real or _improves(state):
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
    if not extents or _improves(state) or is_rising(extents, by=0.02):
        return None
    if max(extents) >= min(0.6 / slack, 0.75):
        return None
    return (
        f"generated images use {max(extents):.0%} of the range from dark to bright that real "
        "images use"
    )


def _is_young(state: HealthState, lines: Sequence[LogLine], spreads: Sequence[float]) -> bool:
    """Return whether the spread of the images has grown until lately, or their quality improves."""
    if _improves(state):
        return True
    peak, now = state.spread_peak, lines[-1].g_steps
    if peak is None:
        return False
    lately = now - peak.g_steps < max(_PATIENCE_STEPS, now / 4)
    return (
        lately
        and statistics.median(spreads) > 0.8 * peak.value
        and peak.value > (1.5 * (state.min_spread or 0.0))
    )


def _improves(state: HealthState) -> bool:
    trend = trend_of(state)
    return trend is not None and trend.improving
