"""Problems that the changes of weights show. Each function is a Detector."""

import statistics
from collections.abc import Sequence

from gantrain.health.signals import LogLine, accuracies_of, is_rising, ratios, values_of
from gantrain.health.state import HealthState

# Relative change of a network's weights in a step. Adam at a rate of 1e-4 changes weights that were
# drawn from N(0, 0.02) by about 5e-3.
_STANDS = 2e-6
_SLOW = 2e-5  # a thousand such steps change weights by 2%
# Between the changes of D and of G. In trainings without a fault it is between 1/4 and 2.
_MUCH_SLOWER_D = 30
_MUCH_SLOWER_G = 100  # G is often slower, and follows a faster D better than D a faster G
_NO_LOSS = 1e-3  # of 0.69 or 2, that of guessing
_SEPARATES = 0.95  # accuracy of a D that teaches itself nothing more, and so hardly moves
CHANGES = {
    "discriminator": "health/d_weight_change",
    "generator": "health/g_weight_change",
}
_USUAL = "(about 1e-3 while it learns)"


def detect_dead_player(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """The weights of a network do not move, as with a learning rate of almost 0."""
    changes = {name: values_of(lines, metric) for name, metric in CHANGES.items()}
    dead = [name for name in changes if stands_still(name, lines, slack)]
    if not dead:
        return None
    size = statistics.median(changes[dead[0]])
    text = f"the {' and the '.join(dead)} stands still: a step changes its weights by {size:.1g}"
    other = next((name for name in changes if name not in dead and changes[name]), None)
    beside = f", the {other}'s by {statistics.median(changes[other]):.1g}" if other else ""
    return f"{text} of their norm{beside} {_USUAL}"


def stands_still(name: str, lines: Sequence[LogLine], slack: float) -> bool:
    """Return whether the weights of the `generator` or the `discriminator` do not move."""
    changes = values_of(lines, CHANGES[name])
    if not changes or max(changes) >= _STANDS / slack:
        return False
    return name != "discriminator" or not _has_won(lines)


def detect_slow_player(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """A network learns far too slowly to get anywhere, or for the other to learn from it.

    One that becomes faster, as while learning rates warm up, is not slow.
    """
    return slow_discriminator(lines, slack) or _slow_generator(lines, slack)


def slow_discriminator(lines: Sequence[LogLine], slack: float) -> str | None:
    """Return what shows that D learns too slowly for G to learn from it, or None."""
    if _has_won(lines):
        return None
    times = [1 / ratio for ratio in ratios(lines, *CHANGES.values()) if ratio > 0]
    if times and min(times) > _MUCH_SLOWER_D * slack and not _separates(lines):
        return _slower("discriminator", "generator", times)
    return _hardly_moves("discriminator", lines, slack)


def _slow_generator(lines: Sequence[LogLine], slack: float) -> str | None:
    times = ratios(lines, *CHANGES.values())
    if times and min(times) > _MUCH_SLOWER_G * slack:
        return _slower("generator", "discriminator", times)
    return _hardly_moves("generator", lines, slack)


def _slower(slow: str, fast: str, times: Sequence[float]) -> str:
    usual = statistics.median(times)
    return f"the {slow} hardly moves: a step changes it {usual:.0f} times less than the {fast}"


def _hardly_moves(name: str, lines: Sequence[LogLine], slack: float) -> str | None:
    changes = values_of(lines, CHANGES[name])
    if not changes or max(changes) >= _SLOW / slack or is_rising(changes):
        return None
    size = statistics.median(changes)
    return f"the {name} hardly moves: a step changes its weights by {size:.1g} {_USUAL}"


def _has_won(lines: Sequence[LogLine]) -> bool:
    """Return whether the loss of a D that is no critic is next to 0, and so are its gradients."""
    losses = values_of(lines, "loss/discriminator")
    if not losses or values_of(lines, "loss/wasserstein"):
        return False
    return 0 <= losses[-1] < _NO_LOSS


def _separates(lines: Sequence[LogLine]) -> bool:
    """Return whether D tells all images from real ones; a critic always should."""
    if values_of(lines, "loss/wasserstein"):
        return False
    accuracies = accuracies_of(lines)
    return bool(accuracies) and min(accuracies) > _SEPARATES
