"""The course of a run's quality, by the metric that says most about it."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gantrain.config.quality import Ruler, goal_of, interval_names
from gantrain.health.signals import LogLine
from gantrain.health.state import Best, HealthState

FALLEN = 1.5  # factor between a measurement and the best that is called a fall
_MARGIN = 0.03  # relative difference of two measurements below which they count as equal
_NEAR_BEST = 1.2
_MAX_MEASUREMENTS = 24
_MIN_FOR_SCATTER = 8  # measurements
_DEVIATION = 1.4826  # standard deviations in a median absolute deviation of normal numbers
# Standard deviations between the best of some tens of equally good generators and two in
# succession: fewer than one run in twenty has more by chance.
_SCATTERS = 5.0

# The families of metrics by which a trend is judged, the most telling first, without the features
# that a name ends in. Their values keep a scale over a run, so that ratios of them mean something.
FAMILIES = ("fid", "inception_score", "kid", "swd")
# Among features of one family: those that were learnt elsewhere before those of the data set.
_LAST_FEATURES = ("classifier", "brick", "random")


@dataclass(frozen=True)
class Trend:
    """The measurements of one metric, oldest first.

    ranks: lower is better.
    best: the best of all, also of those that `values` no longer has.
    """

    metric: str
    values: list[float]
    ranks: list[float]
    g_steps: list[int]
    best: Best
    ruler: Ruler

    @property
    def label(self) -> str:
        """The name for readers, such as FID."""
        return label_of(self.metric)

    @property
    def improving(self) -> bool:
        """Whether the newest two measurements contain one that is better than all before them, and
        the newest of all is not far from it."""
        return self._improves_over(2)

    @property
    def gaining(self) -> bool:
        """Whether the quality improves, if only slowly: the newest third counts, not just two."""
        return self._improves_over(max(2, len(self.ranks) // 3))

    def _improves_over(self, count: int) -> bool:
        if len(self.ranks) < 2:
            return False
        new = self.ranks[-count:] if len(self.ranks) > count else self.ranks[-1:]
        old = self.ranks[: -len(new)]
        return is_better(min(new), min(old)) and not self.is_worse(-1, _NEAR_BEST)

    @property
    def scatter(self) -> float:
        """The standard deviation of a measurement's logarithm, from its distance to the mean of its
        two neighbours; 0 with few measurements.

        The median of the distances, so that a few turns of the curve do not count.
        """
        if len(self.values) < _MIN_FOR_SCATTER or min(self.values) <= 0:
            return 0.0
        logs = [math.log(value) for value in self.values]
        turns = [abs(b - (a + c) / 2) for a, b, c in zip(logs, logs[1:], logs[2:], strict=False)]
        return _DEVIATION * math.sqrt(2 / 3) * statistics.median(turns)

    def is_worse(self, index: int, factor: float) -> bool:
        """Return whether a measurement is worse than the best by at least this factor, and by more
        than measurements that scatter differ from the best of them."""
        by_chance = math.exp(_SCATTERS * self.scatter * math.log(factor) / math.log(FALLEN))
        times = worse_by(self.ruler, self.values[index], self.best.value)
        return times >= max(factor, by_chance)


def trend_of(state: HealthState) -> Trend | None:
    """Return the trend of the most telling metric that the newest measurement has, or None."""
    if not state.measurements:
        return None
    metric = main_metric(state.measurements[-1].signals)
    if metric is None or metric not in state.best:
        return None
    ruler = ruler_of(metric)
    lines = [line for line in state.measurements if metric in line.signals]
    values = [line.signals[metric] for line in lines]
    return Trend(
        metric=metric,
        values=values,
        ranks=[ruler.rank(value) for value in values],
        g_steps=[line.g_steps for line in lines],
        best=state.best[metric],
        ruler=ruler,
    )


def improves(state: HealthState) -> bool:
    """Return whether the quality improves; False if it is not measured."""
    trend = trend_of(state)
    return trend is not None and trend.improving


def main_metric(names: Sequence[str] | dict[str, float]) -> str | None:
    """Return the most telling of some metrics, or None if none of them has a known scale."""
    for family in FAMILIES:
        found = [name for name in names if family_of(name) == family]
        if found:
            return min(found, key=lambda name: (name.rpartition("_")[2] in _LAST_FEATURES, name))
    return None


def is_better(rank: float, other: float) -> bool:
    """Return whether a rank is better than another by more than they differ by chance."""
    return rank < other - _MARGIN * abs(other)


def note_measurement(state: HealthState, line: LogLine) -> None:
    """Add a measurement to the state; keep the last few and the best of each family."""
    if not state.best:  # a new run, or a checkpoint of version 0.2 or earlier
        for earlier in state.measurements:
            _note_best(state, earlier)
    if state.first is None and not state.measurements:
        state.first = line
    state.measurements = [*state.measurements, line][-_MAX_MEASUREMENTS:]
    _note_best(state, line)
    trend = trend_of(state)
    if trend is None:
        return
    if not fell_far(trend, state.measurements[-1], FALLEN):
        state.worse_since = None
    elif state.worse_since is None:
        state.worse_since = line.images_seen


def fell_far(trend: Trend, line: LogLine, factor: float, index: int = -1) -> bool:
    """Return whether a measurement is worse than the best by a factor, beyond both intervals.

    line: the measurement, whose interval counts if it was logged.
    """
    if not trend.is_worse(index, factor):
        return False
    low = line.signals.get(interval_names(trend.metric)[0])
    return low is None or trend.best.high is None or low > trend.best.high


def stops_early(state: HealthState, after_kimg: float | None) -> str:
    """Return the reason to end a run whose quality has been far below its best for long, or "".

    after_kimg: `guard.stop_after_worse_kimg`; None never ends a run. At least two measurements in
    succession must show it.
    """
    trend = trend_of(state)
    if after_kimg is None or trend is None or state.worse_since is None:
        return ""
    newest = state.measurements[-1].images_seen
    if newest is None or newest <= state.worse_since:
        return ""
    if newest - state.worse_since < after_kimg * 1000:
        return ""
    return (
        f"{trend.label} has been at least {FALLEN:g} times its best, {trend.best.value:.4g}"
        f"{position(trend.best)}, for {(newest - state.worse_since) / 1000:.4g} kimg, so that "
        f"guard.stop_after_worse_kimg={after_kimg:g} ends the run; raise it to train on"
    )


def position(best: Best) -> str:
    """Return where a best measurement was made, to follow its value."""
    return f" at {place(best.images_seen, best.g_steps)}"


def place(images_seen: int | None, steps: int) -> str:
    """Return a point of a run for readers: `400 kimg`, or `step 2,000` without images seen."""
    return f"step {steps:,}" if images_seen is None else f"{images_seen / 1000:,.4g} kimg"


def _note_best(state: HealthState, line: LogLine) -> None:
    for name, value in line.signals.items():
        if family_of(name) not in FAMILIES or not is_possible(name, value):
            continue
        best = state.best.get(name)
        if best is None or ruler_of(name).rank(value) < ruler_of(name).rank(best.value):
            state.best[name] = Best(
                value=value,
                g_steps=line.g_steps,
                images_seen=line.images_seen,
                high=line.signals.get(interval_names(name)[1]),
            )


def label_of(metric: str) -> str:
    """Return the name of a quality metric for readers, such as FID."""
    family = family_of(metric)
    return family.upper() if len(family) <= 3 else family.replace("_", " ")


def family_of(metric: str) -> str:
    """Return the name of a quality metric without `quality/` and the features; "" for others."""
    if not metric.startswith("quality/"):
        return ""
    name = metric.removeprefix("quality/")
    return name if name in FAMILIES else name.partition("_")[0]


def ruler_of(metric: str) -> Ruler:
    """Return the ruler of a quality metric, by its name."""
    goal: Literal["highest"] | None = "highest" if family_of(metric) == "inception_score" else None
    return Ruler(metric, goal or goal_of(metric) or "lowest")


def is_possible(metric: str, value: float) -> bool:
    """Return whether a value can be a distance: a broken computation returns absurd ones."""
    return family_of(metric) != "fid" or is_possible_fid(value)


def is_possible_fid(value: float) -> bool:
    """Return whether a value can be a FID, which is about 0 or higher, and below 1e7."""
    return -1.0 <= value <= 1e7


def worse_by(ruler: Ruler, value: float, best: float) -> float:
    """Return by which factor a value is worse than the best; at most 1 where that has no meaning.

    KID is unbiased, so that a good generator may have a best of zero or below.
    """
    worse, better = (best, value) if ruler.goal == "highest" else (value, best)
    if better <= 0 or not math.isfinite(worse):
        return 1.0
    return worse / better
