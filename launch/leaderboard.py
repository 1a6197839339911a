"""Rank runs by a metric at equal images seen, and measure each hyperparameter's main effect."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.statistics import Interval, differ, t_interval
from gantrain.config.quality import full_name, goal_of
from gantrain.config.sections import DEFAULT_METRIC, SECOND_METRIC
from gantrain.runs.metrics_file import read_metrics
from launch.curves import Curve, images_due, images_with, interval_at, names_in, value_at
from launch.metric_names import Direction, direction_of, is_due, measures
from launch.plan import differences, differing_keys
from launch.quality import levels_of, trends_of, verdict_on
from launch.states import RunState
from launch.sweepdir import run_dir

_MAX_GROUPS = 4  # numbers with more values than this are sorted into this many groups


@dataclass(frozen=True)
class Row:
    """One setting: runs that differ in nothing but the seed.

    spread: standard deviation over the seeds; None for one seed.
    interval: 95% interval of the mean, from the spread over the seeds (Student's t); with one seed,
        of its measurement, which leaves out that another seed would do better or worse. None if the
        metric has none.
    quality, trend: how far the images of the runs are from the data at as many images seen, and
        where that goes, each once; empty if it is not known of any.
    like_first: whether the difference from the first row is within the intervals; None for the
        first row, and where an interval is missing.
    """

    values: dict[str, Any]
    runs: list[str]
    mean: float
    spread: float | None
    images: int
    interval: Interval | None = None
    like_first: bool | None = None
    quality: str = ""
    trend: str = ""


@dataclass(frozen=True)
class Effect:
    """The runs that share one value, or one group of values, of one hyperparameter."""

    key: str
    value: str
    runs: int
    mean: float
    best: float
    against_mean: float  # difference from the mean of all runs


@dataclass(frozen=True)
class Leaderboard:
    """Rows from the best to the worst, compared at `images` images seen.

    keys: hyperparameters that vary. effects: those with the largest range of means come first.
    behind: runs that have not seen that many images, and are left out. unmeasured: runs that do
    not measure the metric, such as those with another objective, and are left out. later: runs
    that measure it, but not yet at that many images, and are left out. A run whose newest value is
    not finite ranks last, with NaN.
    """

    metric: str
    direction: Direction
    images: int
    keys: list[str]
    rows: list[Row]
    effects: list[Effect]
    behind: list[str]
    unmeasured: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)


def build_leaderboard(
    sweep_dir: Path,
    runs: Sequence[RunState],
    metric: str,
    direction: Direction,
    kimg: float | None = None,
) -> Leaderboard:
    """Rank the runs at the most images seen that all finished runs have, or at `kimg`.

    Raises UserError if no run has a value at `kimg`.
    """
    curves = {run.run: read_metrics(run_dir(sweep_dir, run.run)) for run in runs}
    unmeasured = [r.run for r in runs if _never_measures(r, curves[r.run], metric)]
    compared = [run for run in runs if run.run not in unmeasured]
    lengths = {run.run: _length(curves[run.run], metric) for run in compared}
    if kimg is not None:
        at = round(kimg * 1000)
    else:
        finished = [lengths[r.run] for r in compared if r.state == "finished" and lengths[r.run]]
        at = min(finished or [images for images in lengths.values() if images] or [0])
    reached = [run for run in compared if at and lengths[run.run] >= at]
    later = [run.run for run in reached if _first_due(curves[run.run], metric) > at]
    ranked = [run for run in reached if run.run not in later]
    if kimg is not None and not ranked:
        raise UserError(_why_empty(kimg, metric, [curves[run.run] for run in compared]))
    scores = {r.run: value_at(curves[r.run], metric, at) for r in ranked}
    values = {run: math.nan if v is None else v for run, v in scores.items()}
    intervals = {r.run: interval_at(curves[r.run], metric, at) for r in ranked}
    keys = [key for key in differing_keys([run.flat for run in runs]) if key != "seed"]
    return Leaderboard(
        metric=metric,
        direction=direction,
        images=at,
        keys=keys,
        rows=[
            _judged(sweep_dir, row, ranked, curves)
            for row in _rows(ranked, values, intervals, keys, direction, at)
        ],
        effects=_effects(ranked, values, keys, direction),
        behind=[run.run for run in compared if run not in reached],
        unmeasured=unmeasured,
        later=later,
    )


def doubts_of(board: Leaderboard) -> list[str]:
    """Return lines that say which rows are as good as the first as far as one can tell, and how."""
    alike = [rank for rank, row in enumerate(board.rows, 1) if row.like_first]
    if not any(row.like_first is not None for row in board.rows):
        return []
    lines = ["≈ Every other row differs from the first."]
    if alike:
        numbers = ", ".join(map(str, alike))
        lines = [f"≈ Not distinguishable from the first (95%): {numbers}."]
    if any(row.interval and len(row.runs) == 1 for row in board.rows):
        lines.append(
            "  Intervals of rows with one run are of its measurement alone; another seed may "
            "differ by more."
        )
    return lines


def default_metric(logged: Sequence[str]) -> str | None:
    """Return the metric to rank by where none is named: FID, KID or a loss; None without them."""
    quality = [n for kind in ("fid", "kid") for n in logged if n.startswith(f"quality/{kind}_")]
    return next(iter([*quality, *(name for name in logged if name.startswith("loss/"))]), None)


def logged_metrics(sweep_dir: Path, runs: Sequence[RunState]) -> list[str]:
    """Return the metrics that the runs have logged; 20 runs that have logged any are read."""
    curves = (read_metrics(run_dir(sweep_dir, run.run)) for run in runs)
    read = itertools.islice((curve for curve in curves if curve), 20)
    return list(dict.fromkeys(name for curve in read for name in names_in(curve)))


def require_metric(metric: str | None, logged: Sequence[str]) -> str:
    """Return the logged metric that a name stands for, or the name if nothing is logged yet.

    Without a name it is the default metric, if the runs have logged it. Raises UserError that
    lists the logged metrics.
    """
    name = metric or DEFAULT_METRIC
    found = full_name(name, logged)
    if metric is None:
        found = found or full_name(SECOND_METRIC, logged)
    if found is None and (logged or metric is None):
        problem = "no metric given" if metric is None else f"metric {metric!r}: never logged"
        raise UserError(f"{problem}; choose --metric from: {', '.join(logged) or 'none'}.")
    return found or name


def choose_direction(
    metric: str, stored_metric: str | None, stored: Direction, wanted: Direction | None
) -> Direction:
    """Return which values of a metric are better: as wanted, as stored for it, or by its name.

    metric: in full. stored_metric, stored: what the sweep was launched with.

    Raises UserError if the best value is neither the lowest nor the highest.
    """
    if wanted is not None:
        return wanted
    if full_name(stored_metric or DEFAULT_METRIC, [metric]):
        return stored
    if goal_of(metric) == "near 1":
        raise UserError(
            f"metric {metric!r}: its best value is 1, and runs are ranked by the lowest or the "
            "highest; give --direction, or choose another metric."
        )
    return direction_of(metric) or "min"


def _judged(
    sweep_dir: Path, row: Row, runs: Sequence[RunState], curves: Mapping[str, Curve]
) -> Row:
    """Return a row with what is said of the quality of its runs, by what they measured by then."""
    verdicts = [
        verdict_on(sweep_dir, run, [x for x in curves[run.run] if x["images_seen"] <= row.images])
        for run in runs
        if run.run in row.runs
    ]
    return replace(row, quality=levels_of(verdicts), trend=trends_of(verdicts))


def _never_measures(run: RunState, curve: Curve, metric: str) -> bool:
    return bool(curve) and metric not in names_in(curve) and not _should_measure(run, metric)


def _should_measure(run: RunState, metric: str) -> bool:
    return "objective.kind" not in run.flat or measures(run.flat, metric)


def _length(curve: Curve, metric: str) -> int:
    """Return images seen at the newest line that has the metric, or should have it."""
    return images_with(curve, metric) or images_due(curve, metric)


def _first_due(curve: Curve, metric: str) -> float:
    """Return images seen where the metric was due first; infinite if it never was."""
    return min((line["images_seen"] for line in curve if is_due(line, metric)), default=math.inf)


def _why_empty(kimg: float, metric: str, curves: Sequence[Curve]) -> str:
    first = min((_first_due(curve, metric) for curve in curves), default=math.inf)
    last = max((_length(curve, metric) for curve in curves), default=0)
    if not last:
        return f"--kimg {kimg:g}: no run has measured {metric} yet."
    if first > kimg * 1000:
        return (
            f"--kimg {kimg:g}: no run has measured {metric} by then; the first measurement is at "
            f"{first / 1000:g} kimg."
        )
    return (
        f"--kimg {kimg:g}: no run has measured {metric} that far; the furthest measurement is at "
        f"{last / 1000:g} kimg."
    )


def _rows(
    runs: Sequence[RunState],
    values: Mapping[str, float],
    intervals: Mapping[str, Interval | None],
    keys: Sequence[str],
    direction: Direction,
    images: int,
) -> list[Row]:
    groups: dict[str, list[RunState]] = {}
    for run in runs:
        groups.setdefault(repr(differences(run.flat, keys)), []).append(run)
    rows = []
    for group in groups.values():
        scores = [values[run.run] for run in group]
        mean = _mean(scores)
        spread, interval = None, intervals[group[0].run]
        if len(scores) > 1:
            spread = math.sqrt(sum((s - mean) ** 2 for s in scores) / (len(scores) - 1))
            interval = t_interval(scores)
        names = [run.run for run in group]
        rows.append(Row(differences(group[0].flat, keys), names, mean, spread, images, interval))
    rows.sort(key=lambda row: _sort_key(row.mean, direction))
    return [replace(row, like_first=_is_like(row, rows[0])) for row in rows]


def _is_like(row: Row, first: Row) -> bool | None:
    if row is first or row.interval is None or first.interval is None:
        return None
    return not differ(first.mean, first.interval, row.mean, row.interval)


def _effects(
    runs: Sequence[RunState],
    values: Mapping[str, float],
    keys: Sequence[str],
    direction: Direction,
) -> list[Effect]:
    finite = [run for run in runs if math.isfinite(values[run.run])]
    if not finite:
        return []
    overall = _mean([values[run.run] for run in finite])
    effects: list[tuple[float, list[Effect]]] = []
    for key in keys:
        effects_of_key = []
        for name, group in _group_by(finite, key).items():
            scores = [values[run.run] for run in group]
            mean = _mean(scores)
            best = min(scores) if direction == "min" else max(scores)
            effects_of_key.append(Effect(key, name, len(group), mean, best, mean - overall))
        means = [effect.mean for effect in effects_of_key]
        effects.append((max(means) - min(means), effects_of_key))
    effects.sort(key=lambda pair: -pair[0])
    return [effect for _, effects_of_key in effects for effect in effects_of_key]


def _group_by(runs: Sequence[RunState], key: str) -> dict[str, list[RunState]]:
    values = [differences(run.flat, [key])[key] for run in runs]
    distinct = {repr(value) for value in values}
    numbers = [v for v in values if isinstance(v, int | float)]
    groups: dict[str, list[RunState]] = {}
    if len(distinct) <= _MAX_GROUPS or len(numbers) < len(values):
        for run, value in zip(runs, values, strict=True):
            groups.setdefault(str(value), []).append(run)
        return dict(sorted(groups.items(), key=lambda pair: _numbers_first(pair[0])))
    ordered = sorted(runs, key=lambda run: float(run.flat[key]))
    size = math.ceil(len(ordered) / _MAX_GROUPS)
    for start in range(0, len(ordered), size):
        group = ordered[start : start + size]
        groups[f"{group[0].flat[key]:g} … {group[-1].flat[key]:g}"] = group
    return groups


def _numbers_first(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def _mean(values: Sequence[float]) -> float:
    finite = all(map(math.isfinite, values))
    return math.fsum(values) / len(values) if finite else math.nan


def _sort_key(value: float, direction: Direction) -> float:
    if not math.isfinite(value):
        return math.inf
    return value if direction == "min" else -value
