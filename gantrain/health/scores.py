"""The measurements of one metric, and where they go."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gantrain.common.records import is_number
from gantrain.common.statistics import Interval
from gantrain.config.quality import Ruler, full_name, has_quality, interval_names
from gantrain.health.trend import FAMILIES, family_of, is_possible, main_metric, place

Course = Literal["", "improving", "flat", "worse than its best"]

_ASSUMED_HALF = 0.1  # of a value, for half of an interval that was not logged
_LEAST_HALF = {"kid": 1e-3}  # KID is unbiased, so that values about 0 are noise
# Judged by where none of FAMILIES is measured. Each sees a part of the quality only.
_PARTIAL = ("coverage", "recall", "precision")


@dataclass(frozen=True)
class Score:
    """A value of a metric, and the images seen, or in logs without them the steps, by then.

    interval: 95%; None if it was not logged.
    """

    metric: str
    value: float
    interval: Interval | None = None
    images_seen: int | None = None
    step: int | None = None

    @property
    def low(self) -> float:
        """The lower end of the interval; of one that is not known, a tenth below the value."""
        return self.interval[0] if self.interval else self.value - self._assumed_half

    @property
    def high(self) -> float:
        """The upper end of the interval; of one that is not known, a tenth above the value."""
        return self.interval[1] if self.interval else self.value + self._assumed_half

    @property
    def place(self) -> str:
        """Where it was measured, such as `400 kimg`."""
        return place(self.images_seen, self.step or 0)

    @property
    def _assumed_half(self) -> float:
        least = _LEAST_HALF.get(family_of(self.metric), 0.0)
        return max(_ASSUMED_HALF * abs(self.value), least)


def score_of(line: Mapping[str, Any], metric: str) -> Score | None:
    """Return the score in a line of metrics; None if it is missing, or can be no measurement."""
    value = line.get(metric)
    if not is_number(value) or not is_possible(metric, value):
        return None
    low, high = (line.get(name) for name in interval_names(metric))
    interval = (float(low), float(high)) if is_number(low) and is_number(high) else None
    seen, step = (line.get(name) for name in ("images_seen", "step"))
    return Score(
        metric,
        float(value),
        interval,
        int(seen) if is_number(seen) else None,
        int(step) if is_number(step) else None,
    )


def choose_metric(lines: Sequence[Mapping[str, Any]], preferred: str | None) -> str | None:
    """Return the metric that says most of the quality, of the newest lines that have it.

    preferred: it decides if it names a FID or a KID.
    """
    if preferred is not None and family_of(preferred) in ("fid", "kid"):
        for line in reversed(lines):
            if (found := full_name(preferred, sorted(line))) is not None:
                return found
    for family in (*FAMILIES, *_PARTIAL):
        for line in reversed(lines):
            names = [name for name in line if family_of(name) == family]
            if names:
                return main_metric(names) or min(names)
    return None


def measurements(
    lines: Iterable[Mapping[str, Any]], metric: str, *, sparse: bool
) -> list[Mapping[str, Any]]:
    """Return the lines that should have the metric, oldest first.

    After a line that repeats images seen, those before it that had seen as many are of a run that
    was resumed from an earlier point, and do not count.

    sparse: whether a line without the metric, or with NaN, says nothing, as in a table in which
        each metric has lines of its own.
    """
    kept: list[Mapping[str, Any]] = []
    for line in lines:
        value = line.get(metric)
        if not has_quality(line) or (sparse and (value is None or value != value)):
            continue
        while kept and _position(kept[-1]) >= _position(line):
            kept.pop()
        kept.append(line)
    return kept


def course_of(scores: Sequence[Score], ruler: Ruler) -> tuple[Course, Score]:
    """Return where the quality goes, and the best score. There must be one.

    By intervals that do not overlap, which is stricter than a test of one difference (0.6% instead
    of 5% by chance if the intervals are equally long), since the best is one of many.
    """
    best = min(scores, key=lambda score: ruler.rank(score.value))
    if len(scores) < 2:
        return "", best
    newest = scores[-1]
    if _is_worse(newest, best, ruler):
        return "worse than its best", best
    earlier = scores[: len(scores) - max(1, len(scores) // 3)]
    if _is_worse(min(earlier, key=lambda score: ruler.rank(score.value)), newest, ruler):
        return "improving", best
    return "flat", best


def _is_worse(score: Score, other: Score, ruler: Ruler) -> bool:
    if ruler.goal == "highest":
        return score.high < other.low
    return score.low > other.high


def _position(line: Mapping[str, Any]) -> float:
    found = line.get("images_seen", line.get("step", 0))
    return float(found) if is_number(found) else 0.0
