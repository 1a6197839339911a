"""The verdict on a run's quality: how far its images are from the data, and where that goes.

It stands beside the diagnosis of the training, which says nothing of quality: a GAN without any
fault may be bad. FID judges, or KID where no FID is measured. Both are squared distances with two
natural marks: the floor, which real images score against other real images, and the spread of the
data, which real images score if each feature is moved by its standard deviation. Where the spread
is not known, as in logs of other tools, only the trend is. Needs no torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gantrain.common.records import is_number
from gantrain.common.statistics import differ
from gantrain.config.quality import DIMENSIONS, current_name, has_quality
from gantrain.health.scores import (
    Course,
    Score,
    choose_metric,
    course_of,
    measurements,
    score_of,
)
from gantrain.health.trend import family_of, label_of, ruler_of, worse_by

Level = Literal[
    "far from the data",
    "near the data",
    "at the floor of real images",
    "unknown distance from the data",
    "not measured",
]

FLOOR_EVENT = "floor"
# Of the spread. The first is the FID of features that are all off by half their standard deviation.
# The second is as strict on damaged images: KID hardly sees what FID sees of the covariances.
NEAR = {"fid": 0.25, "kid": 0.1}
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
class Verdict:
    """What is true of a run's quality at its newest measurement.

    trend: "" with a single measurement.
    metric: the name in metrics.jsonl that it is judged by; "" without any.
    newest, best: None without any measurement. floor: None if it is not known.
    reason: why nothing is measured, or what keeps the run from a better level.
    """

    level: Level
    trend: Course = ""
    metric: str = ""
    newest: Score | None = None
    best: Score | None = None
    floor: float | None = None
    reason: str = ""

    @property
    def words(self) -> str:
        """The verdict without numbers, such as `near the data, improving`."""
        return ", ".join(filter(None, [self.level, self.trend]))

    @property
    def evidence(self) -> str:
        """The numbers behind the words, for display; the reason where there are none."""
        if self.newest is None or self.best is None:
            return self.reason
        value = f"{label_of(self.metric)} {_short(self.newest.value)}"
        if self.newest.interval:
            value += " ({} to {})".format(*map(_short, self.newest.interval))
        best = f"{_short(self.best.value)} at {self.best.place}"
        if self.trend == "worse than its best":
            value = ", ".join(filter(None, [f"{value} at {self.newest.place}", self._times, best]))
            best = ""
        elif self.best == self.newest:
            best = ""
        known = "unknown" if self.floor is None else _short(self.floor)
        parts = [value, best and f"best {best}", f"floor {known}", self.reason]
        return "; ".join(filter(None, parts))

    @property
    def sentence(self) -> str:
        """Words and evidence on one line."""
        return f"{self.words} ({self.evidence})" if self.evidence else self.words

    def to_record(self) -> dict[str, Any]:
        """Return the verdict as plain values, for JSON."""
        newest, best = self.newest, self.best
        return {
            "level": self.level,
            "trend": self.trend or None,
            "metric": self.metric or None,
            "value": newest and newest.value,
            "interval": newest and newest.interval,
            "images_seen": newest and newest.images_seen,
            "step": newest and newest.step,
            "best": best and best.value,
            "best_images_seen": best and best.images_seen,
            "best_step": best and best.step,
            "floor": self.floor,
            "evidence": self.evidence,
        }

    @property
    def _times(self) -> str:
        """By which factor the newest value is worse than the best; "" where that says nothing."""
        if self.newest is None or self.best is None:
            return ""
        factor = worse_by(ruler_of(self.metric), self.newest.value, self.best.value)
        return f"{factor:.3g} times worse than its best" if factor > 1 else ""


def judge(
    lines: Iterable[Mapping[str, Any]],
    floor: Floor,
    preferred: str | None = None,
    *,
    measures: bool = True,
    sparse: bool = False,
) -> Verdict:
    """Return the verdict on a run.

    lines: of metrics.jsonl, oldest first; those without measurements do not count.
    preferred: `output.keep_best`; it decides if it names a FID or a KID.
    measures: whether the run measures quality at all.
    sparse: whether a line may leave out the metric though it has others, as in logs of other tools;
        in metrics.jsonl it is a value that was no number.
    """
    lines = [line for line in lines if has_quality(line)]
    metric = choose_metric(lines, preferred)
    if metric is None:
        reason = "no measurement yet" if measures else "metrics.every_kimg is 0"
        if lines:
            reason = "no metric of the distance from the data"
        return Verdict("not measured", reason=reason)
    measured = measurements(lines, metric, sparse=sparse)
    newest = score_of(measured[-1], metric) if measured else None
    if newest is None:
        value = measured[-1].get(metric) if measured else None
        kind = f"{value:.3g}, which no distance can be" if is_number(value) else "not a number"
        reason = f"the newest {metric.removeprefix('quality/')} is {kind}"
        return Verdict("not measured", metric=metric, reason=reason)
    scores = [score for line in measured if (score := score_of(line, metric))]
    trend, best = course_of(scores, ruler_of(metric))
    at_floor = score_of(floor.scores, metric)
    level, reason = _level(newest, at_floor, _limit(metric, floor))
    if level == "at the floor of real images" and (tell := _two_samples(measured[-1], floor)):
        level, reason = "near the data", tell
    return Verdict(level, trend, metric, newest, best, at_floor.value if at_floor else None, reason)


def floor_of(record: Mapping[str, Any]) -> Floor:
    """Return the floor in an event of this kind, without values that are no numbers."""
    return Floor(*(_numbers(record.get(key)) for key in ("scores", "spread")))


def recorded_floor(events: Sequence[Mapping[str, Any]]) -> Floor:
    """Return the newest floor in the events of a run; an empty one if there is none."""
    found = (floor_of(x) for x in reversed(events) if x.get("event") == FLOOR_EVENT)
    return next(found, Floor())


def _level(newest: Score, floor: Score | None, limit: float | None) -> tuple[Level, str]:
    if limit is None:
        known = family_of(newest.metric) in NEAR
        return "unknown distance from the data", "" if known else "neither FID nor KID is measured"
    if newest.value - (floor.value if floor else 0.0) > limit:
        return "far from the data", ""
    if floor is None:
        return "near the data", ""
    ranges = [(each.low, each.high) for each in (newest, floor)]
    if newest.value > floor.value and differ(newest.value, ranges[0], floor.value, ranges[1]):
        return "near the data", ""
    return "at the floor of real images", ""


def _two_samples(line: Mapping[str, Any], floor: Floor) -> str:
    """Return the evidence that a small network tells the images from real ones, or ""."""
    found, real = (score_of(x, _TWO_SAMPLE_TEST) for x in (line, floor.scores))
    if found is None or real is None or found.value <= real.value:
        return ""
    if not differ(found.value, (found.low, found.high), real.value, (real.low, real.high)):
        return ""
    return (
        f"a classifier tells the images from real ones: AUC {found.value:.2f}, real ones among "
        f"themselves {real.value:.2f}"
    )


def _limit(metric: str, floor: Floor) -> float | None:
    """Return the distance above the floor that is far; None if the spread is not known.

    The spread of FID is the number of features, if these are scaled.
    """
    name, _, features = current_name(metric).removeprefix("quality/").partition("_")
    scaled = name == "fid" and features != "inception"
    spread = floor.spread.get(metric, DIMENSIONS.get(features) if scaled else None)
    return NEAR[name] * spread if spread is not None and name in NEAR else None


def _numbers(found: object) -> dict[str, float]:
    if not isinstance(found, dict):
        return {}
    return {str(name): float(value) for name, value in found.items() if is_number(value)}


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 or abs(value) > 1e7 else f"{value:,.0f}"
