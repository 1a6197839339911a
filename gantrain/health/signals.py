"""Lines of metrics as the diagnosis reads them, and statistics of a few of them."""

import math
import statistics
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from gantrain.config.quality import OF_ONE_CLASS, RENAMED, has_quality

NOT_FINITE = "health/not_finite"  # number of losses of a line that were NaN or infinite
_PREFIXES = ("loss/", "health/")
_RESTING = 0.1  # of the highest learning rate of a schedule
_QUALITY = ("quality/", "interval/", OF_ONE_CLASS)
# Names in older logs and checkpoints, and today's.
_RENAMED = {f"quality/{old}": f"quality/{new}" for old, new in RENAMED.items()}


class LogLine(BaseModel):
    """The signals of one log interval, and the progress at its end.

    images_seen: None in a checkpoint of version 0.2 or earlier.
    """

    g_steps: int
    signals: dict[str, float]
    images_seen: int | None = None


def split_signals(metrics: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the signals of the training and the measurements of quality in a line of metrics.

    Values that are not finite are left out and, among the losses, counted as `NOT_FINITE`.
    """
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
    signals = {name: value for name, value in finite.items() if name.startswith(_PREFIXES)}
    broken = sum(name.startswith("loss/") for name in metrics.keys() - finite.keys())
    if broken:
        signals[NOT_FINITE] = float(broken)
    quality = {
        _RENAMED.get(name, name): value
        for name, value in finite.items()
        if name.startswith(_QUALITY)
    }
    return signals, quality if has_quality(quality) else {}


def resting(signals: Mapping[str, float]) -> list[str]:
    """Return which of `d` and `g` move little because their schedules ask for it."""
    return [n for n in "dg" if signals.get(f"health/{n}_rate_share", 1.0) < _RESTING]


def without_rest(signals: Mapping[str, float]) -> dict[str, float]:
    """Return the signals without the changes of weights of networks that rest."""
    hidden = [f"health/{n}_weight_change" for n in resting(signals)]
    return {name: value for name, value in signals.items() if name not in hidden}


def values_of(lines: Sequence[LogLine], name: str) -> list[float]:
    """Return the values of a metric in the lines that have it, under its old name as well."""
    old = next((old for old, new in _RENAMED.items() if new == name), name)
    found = (line.signals.get(name, line.signals.get(old)) for line in lines)
    return [value for value in found if value is not None]


def accuracies_of(lines: Sequence[LogLine]) -> list[float]:
    """Return the fractions of real and of fake images that D classified correctly."""
    return [x for kind in ("real", "fake") for x in values_of(lines, f"health/d_accuracy_{kind}")]


def relative_spreads(lines: Sequence[LogLine]) -> list[float]:
    """Return the spread of generated images relative to that of real images, for each line."""
    return ratios(lines, "health/fake_spread", "health/real_spread")


def ratios(lines: Sequence[LogLine], numerator: str, denominator: str) -> list[float]:
    """Return the ratio of two metrics in each line that has both, if it is a finite number."""
    found = [
        line.signals[numerator] / line.signals[denominator]
        for line in lines
        if line.signals.get(denominator) and numerator in line.signals
    ]
    return [ratio for ratio in found if math.isfinite(ratio)]


def lower_quartile(values: Sequence[float]) -> float:
    """Return what three quarters of the values reach: the signals of a diverging pair oscillate."""
    return sorted(values)[len(values) // 4]


def thirds(lines: Sequence[LogLine]) -> list[Sequence[LogLine]]:
    """Return the first, the middle and the last third of some lines; none of fewer than three."""
    third = len(lines) // 3
    return [lines[:third], lines[third : len(lines) - third], lines[-third:]] if third else []


def is_rising(values: Sequence[float], by: float = 0.05) -> bool:
    """Return whether the last third of the values is higher than the first by this fraction."""
    third = len(values) // 3
    if not third:
        return False
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    return last > first + by * abs(first)
