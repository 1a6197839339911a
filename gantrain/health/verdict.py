"""The verdict on a run's quality: how far its images are from the data, and where that goes.

It stands beside the diagnosis of the training, which says nothing of quality: a GAN without any
fault may be bad. FID judges, or KID where no FID is measured. Both are squared distances with two
natural marks: the floor, which real images score against other real images, and the spread of the
data, which real images score if each feature is moved by its standard deviation. Needs no torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gantrain.common.records import is_number
from gantrain.common.statistics import Interval, differ
from gantrain.config.quality import (
    DIMENSIONS,
    current_name,
    full_name,
    has_quality,
    interval_names,
)
from gantrain.config.sections import DEFAULT_METRIC, SECOND_METRIC

Level = Literal["far from the data", "near the data", "at the floor of real images", "not measured"]
Course = Literal["", "improving", "flat", "worse than its best"]

FLOOR_EVENT = "floor"
# Of the spread. The first is the FID of features that are all off by half their standard deviation.
# The second is as strict on damaged images: KID hardly sees what FID sees of the covariances.
NEAR = {"fid": 0.25, "kid": 0.1}
_ASSUMED_HALF = 0.1  # of a value, for half of an interval that was not logged
_TWO_SAMPLE_TEST = "quality/c2st"


@dataclass(frozen=True)
class Floor:
    """What real images score against other real images.

    scores: the metrics, and the ends of their intervals, by the names in metrics.jsonl. Empty if
        the floor is not known, as of a run of version 0.2 or earlier.
    spread: FID and KID of the data moved by one standard deviation in each feature, by the same
        names.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """A value of the metric, its 95% interval if known, and the images seen by then."""

    value: float
    interval: Interval | None
    images_seen: int

    @property
    def low(self) -> float:
        """The lower end of the interval; if that is not known, a tenth below the value."""
        return self.interval[0] if self.interval else self._beside(-1)

    @property
    def high(self) -> float:
        """The upper end of the interval; if that is not known, a tenth above the value."""
        return self.interval[1] if self.interval else self._beside(1)

    def _beside(self, sign: int) -> float:
        return self.value + sign * _ASSUMED_HALF * abs(self.value)


@dataclass(frozen=True)
class Verdict:
    """What is true of a run's quality at its newest measurement.

    metric: the name in metrics.jsonl that it is judged by; "" without any.
    newest, best: None without any measurement. floor: None if it is not known.
    reason: why nothing is measured, or what keeps the run from a better level.
    """

    level: Level
    course: Course = ""
    metric: str = ""
    newest: Score | None = None
    best: Score | None = None
    floor: float | None = None
    reason: str = ""

    @property
    def words(self) -> str:
        """The verdict without numbers, such as `near the data, improving`."""
        return ", ".join(filter(None, [self.level, self.course]))

    @property
    def evidence(self) -> str:
        """The numbers behind the words, for display; the reason where there are none."""
        if self.newest is None or self.best is None:
            return self.reason
        label = self.metric.removeprefix("quality/")[:3].upper()
        parts = [f"{label} {_short(self.newest.value)}"]
        if self.newest.interval:
            parts[0] += " ({} to {})".format(*map(_short, self.newest.interval))
        if self.course == "worse than its best":
            best = f"{_short(self.best.value)} at {_kimg(self.best)}"
            parts[0] += f" at {_kimg(self.newest)}, {best}"
        known = "unknown" if self.floor is None else _short(self.floor)
        return "; ".join([*parts, f"floor {known}", *([self.reason] if self.reason else [])])

    @property
    def sentence(self) -> str:
        """Words and evidence on one line."""
        return f"{self.words} ({self.evidence})" if self.evidence else self.words


def judge(
    lines: Iterable[Mapping[str, Any]],
    floor: Floor,
    preferred: str | None = None,
    *,
    measures: bool = True,
) -> Verdict:
    """Return the verdict on a run.

    lines: of metrics.jsonl, oldest first; those without measurements do not count.
    preferred: `output.keep_best`; it decides if it names a FID or a KID.
    measures: whether the run measures quality at all.
    """
    measured = [line for line in lines if has_quality(line)]
    if not measured:
        reason = "no measurement yet" if measures else "metrics.every_kimg is 0"
        return Verdict("not measured", reason=reason)
    metric = _choose_metric({name: None for line in measured for name in line}, preferred)
    scores = [score for line in measured if metric and (score := _score(line, metric))]
    if metric is None or not scores:
        return Verdict("not measured", reason="the run measures neither FID nor KID")
    newest, best = scores[-1], min(scores, key=lambda score: score.value)
    if newest.images_seen != measured[-1]["images_seen"]:
        reason = f"the newest {metric.removeprefix('quality/')} is not a number"
        return Verdict("not measured", metric=metric, reason=reason)
    at_floor = _score(floor.scores, metric)
    level, reason = _level(newest, at_floor, _limit(metric, floor))
    if level == "at the floor of real images" and (tell := _two_samples(measured[-1], floor)):
        level, reason = "near the data", tell
    return Verdict(
        level,
        _course(scores, best),
        metric,
        newest,
        best,
        at_floor.value if at_floor else None,
        reason,
    )


def floor_of(record: Mapping[str, Any]) -> Floor:
    """Return the floor in an event of this kind, without values that are no numbers."""
    return Floor(*(_numbers(record.get(key)) for key in ("scores", "spread")))


def recorded_floor(events: Sequence[Mapping[str, Any]]) -> Floor:
    """Return the newest floor in the events of a run; an empty one if there is none."""
    found = (floor_of(x) for x in reversed(events) if x.get("event") == FLOOR_EVENT)
    return next(found, Floor())


def _level(newest: Score, floor: Score | None, limit: float | None) -> tuple[Level, str]:
    if limit is None:
        return "not measured", "the spread of the data in these features is unknown"
    if newest.value - (floor.value if floor else 0.0) > limit:
        return "far from the data", ""
    if floor is None:
        return "near the data", ""
    ranges = [(each.low, each.high) for each in (newest, floor)]
    if newest.value > floor.value and differ(newest.value, ranges[0], floor.value, ranges[1]):
        return "near the data", ""
    return "at the floor of real images", ""


def _course(scores: Sequence[Score], best: Score) -> Course:
    """Return where the quality goes, from intervals that do not overlap.

    That is stricter than a test of one difference (0.6% instead of 5% by chance if the intervals
    are equally long), since the best is one of many.
    """
    newest = scores[-1]
    if len(scores) < 2:
        return ""
    if newest.low > best.high:
        return "worse than its best"
    earlier = scores[: len(scores) - max(1, len(scores) // 3)]
    if newest.high < min(earlier, key=lambda score: score.value).low:
        return "improving"
    return "flat"


def _two_samples(line: Mapping[str, Any], floor: Floor) -> str:
    """Return the evidence that a small network tells the images from real ones, or ""."""
    found, real = (_score(x, _TWO_SAMPLE_TEST) for x in (line, floor.scores))
    if found is None or real is None or found.value <= real.value:
        return ""
    if not differ(found.value, (found.low, found.high), real.value, (real.low, real.high)):
        return ""
    return (
        f"a classifier tells the images from real ones: AUC {found.value:.2f}, real ones among "
        f"themselves {real.value:.2f}"
    )


def _choose_metric(logged: Iterable[str], preferred: str | None) -> str | None:
    distances = [x for x in logged if current_name(x).startswith((DEFAULT_METRIC, SECOND_METRIC))]
    names = (preferred, DEFAULT_METRIC, SECOND_METRIC)
    return next((found for name in names if name and (found := full_name(name, distances))), None)


def _limit(metric: str, floor: Floor) -> float | None:
    """Return the distance above the floor that is far; None if the spread is not known.

    The spread of FID is the number of features, if these are scaled.
    """
    name, _, features = current_name(metric).removeprefix("quality/").partition("_")
    scaled = name == "fid" and features != "inception"
    spread = floor.spread.get(metric, DIMENSIONS.get(features) if scaled else None)
    return None if spread is None else NEAR[name] * spread


def _score(line: Mapping[str, Any], metric: str) -> Score | None:
    value = line.get(metric)
    if not is_number(value):
        return None
    low, high = (line.get(name) for name in interval_names(metric))
    interval = (float(low), float(high)) if is_number(low) and is_number(high) else None
    return Score(float(value), interval, int(line.get("images_seen", 0)))


def _numbers(found: object) -> dict[str, float]:
    if not isinstance(found, dict):
        return {}
    return {str(name): float(value) for name, value in found.items() if is_number(value)}


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 or abs(value) > 1e7 else f"{value:,.0f}"


def _kimg(score: Score) -> str:
    return f"{score.images_seen / 1000:,.4g} kimg"
