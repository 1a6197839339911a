"""Rank runs by a metric at equal images seen, and measure each hyperparameter's main effect."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gantrain.common.errors import UserError
from gantrain.runs.records import read_metrics
from launch.curves import images_with, value_at
from launch.plan import ABSENT, differences, differing_keys
from launch.states import RunState
from launch.sweepdir import run_dir

Direction = Literal["min", "max"]
_MAX_GROUPS = 4  # numbers with more values than this are sorted into this many groups


@dataclass(frozen=True)
class Row:
    """One setting: runs that differ in nothing but the seed."""

    values: dict[str, Any]
    runs: list[str]
    mean: float
    spread: float | None  # standard deviation over the seeds; None for one seed
    images: int


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
    behind: runs that have not seen that many images, and are left out.
    """

    metric: str
    direction: Direction
    images: int
    keys: list[str]
    rows: list[Row]
    effects: list[Effect]
    behind: list[str]


def build_leaderboard(
    sweep_dir: Path,
    runs: Sequence[RunState],
    metric: str,
    direction: Direction,
    kimg: float | None = None,
) -> Leaderboard:
    """Rank the runs at the most images seen that all finished runs have, or at `kimg`."""
    curves = {run.run: read_metrics(run_dir(sweep_dir, run.run)) for run in runs}
    lengths = {run: images_with(curve, metric) for run, curve in curves.items()}
    if kimg is not None:
        at = round(kimg * 1000)
    else:
        finished = [lengths[r.run] for r in runs if r.state == "finished" and lengths[r.run]]
        at = min(finished or [images for images in lengths.values() if images] or [0])
    ranked = [run for run in runs if at and lengths[run.run] >= at]
    scores = {r.run: value_at(curves[r.run], metric, at) for r in ranked}
    values = {run: math.nan if v is None else v for run, v in scores.items()}
    keys = [key for key in differing_keys([run.flat for run in runs]) if key != "seed"]
    return Leaderboard(
        metric=metric,
        direction=direction,
        images=at,
        keys=keys,
        rows=_rows(ranked, values, keys, direction, at),
        effects=_effects(ranked, values, keys, direction),
        behind=[run.run for run in runs if run.run not in values],
    )


def logged_metrics(sweep_dir: Path, runs: Sequence[RunState]) -> list[str]:
    """Return the metrics that the runs have logged; the newest lines of 20 runs are read."""
    names: dict[str, None] = {}
    for run in runs[:20]:
        for line in read_metrics(run_dir(sweep_dir, run.run))[-5:]:
            names |= dict.fromkeys(line)
    names.pop("images_seen", None)
    return list(names)


def require_metric(metric: str | None, logged: Sequence[str]) -> str:
    """Return the metric if the runs have logged it, or if they have logged nothing yet.

    Raises UserError that lists the logged metrics.
    """
    if metric is None or (logged and metric not in logged):
        problem = "no metric given" if metric is None else f"metric {metric!r}: never logged"
        raise UserError(f"{problem}; choose --metric from: {', '.join(logged) or 'none'}.")
    return metric


def _rows(
    runs: Sequence[RunState],
    values: Mapping[str, float],
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
        spread = None
        if len(scores) > 1:
            spread = math.sqrt(sum((s - mean) ** 2 for s in scores) / (len(scores) - 1))
        names = [run.run for run in group]
        rows.append(Row(differences(group[0].flat, keys), names, mean, spread, images))
    return sorted(rows, key=lambda row: _sort_key(row.mean, direction))


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
    values = [run.flat.get(key, ABSENT) for run in runs]
    distinct = {repr(value) for value in values}
    numbers = [v for v in values if isinstance(v, int | float)]
    groups: dict[str, list[RunState]] = {}
    if len(distinct) <= _MAX_GROUPS or len(numbers) < len(values):
        for run in runs:
            groups.setdefault(str(run.flat.get(key, ABSENT)), []).append(run)
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
    return math.fsum(values) / len(values)


def _sort_key(value: float, direction: Direction) -> float:
    if not math.isfinite(value):
        return math.inf
    return value if direction == "min" else -value
