"""Runs ranked by a metric at equal images seen, and what each hyperparameter did."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from launch.curves import images_with, read_curve, value_at
from launch.plan import ABSENT, differences, differing_keys
from launch.states import RunState
from launch.sweepdir import run_dir

Direction = Literal["min", "max"]
_GROUPS = 4  # numbers with more values than this are put into so many groups


@dataclass(frozen=True)
class Row:
    """One setting: its runs differ in nothing but the seed."""

    values: dict[str, Any]
    runs: list[str]
    mean: float
    spread: float | None  # standard deviation over the seeds
    images: int


@dataclass(frozen=True)
class Effect:
    """One value, or group of values, of one hyperparameter."""

    key: str
    value: str
    runs: int
    mean: float
    best: float
    against_mean: float  # mean less the mean of all runs


@dataclass(frozen=True)
class Board:
    """A leader board. `behind` are runs that have not come as far as `images`."""

    metric: str
    direction: Direction
    images: int
    keys: list[str]
    rows: list[Row]
    effects: list[Effect]
    behind: list[str]


def build_board(
    sweep_dir: Path,
    runs: Sequence[RunState],
    metric: str,
    direction: Direction,
    kimg: float | None = None,
) -> Board:
    """Rank the runs at the images seen that all finished runs have, or at `kimg`."""
    curves = {run.run: read_curve(run_dir(sweep_dir, run.run)) for run in runs}
    reach = {run: images_with(curve, metric) for run, curve in curves.items()}
    if kimg is not None:
        at = round(kimg * 1000)
    else:
        finished = [reach[r.run] for r in runs if r.state == "finished" and reach[r.run]]
        at = min(finished or [images for images in reach.values() if images] or [0])
    ranked = [run for run in runs if at and reach[run.run] >= at]
    scores = {r.run: value_at(curves[r.run], metric, at) for r in ranked}
    values = {run: math.nan if v is None else v for run, v in scores.items()}
    keys = differing_keys([run.flat for run in runs])
    settings = [key for key in keys if key != "seed"]
    return Board(
        metric=metric,
        direction=direction,
        images=at,
        keys=settings,
        rows=_rows(ranked, values, settings, direction, at),
        effects=_effects(ranked, values, settings, direction),
        behind=[run.run for run in runs if run.run not in values],
    )


def metrics_of(sweep_dir: Path, runs: Sequence[RunState]) -> list[str]:
    """Every metric that the runs have logged."""
    names: dict[str, None] = {}
    for run in runs[:20]:
        for line in read_curve(run_dir(sweep_dir, run.run))[-5:]:
            names |= dict.fromkeys(line)
    names.pop("images_seen", None)
    return list(names)


def _rows(
    runs: Sequence[RunState],
    values: Mapping[str, float],
    keys: Sequence[str],
    direction: Direction,
    at: int,
) -> list[Row]:
    groups: dict[str, list[RunState]] = {}
    for run in runs:
        groups.setdefault(repr(differences(run.flat, keys)), []).append(run)
    rows = []
    for group in groups.values():
        scores = [values[run.run] for run in group]
        mean = math.fsum(scores) / len(scores)
        spread = None
        if len(scores) > 1:
            spread = math.sqrt(sum((s - mean) ** 2 for s in scores) / (len(scores) - 1))
        names = [run.run for run in group]
        rows.append(Row(differences(group[0].flat, keys), names, mean, spread, at))
    return sorted(rows, key=lambda row: _order(row.mean, direction))


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
        of_key = []
        for name, group in _groups(finite, key).items():
            scores = [values[run.run] for run in group]
            mean = _mean(scores)
            best = min(scores) if direction == "min" else max(scores)
            of_key.append(Effect(key, name, len(group), mean, best, mean - overall))
        means = [effect.mean for effect in of_key]
        effects.append((max(means) - min(means), of_key))
    # What matters most comes first.
    effects.sort(key=lambda pair: -pair[0])
    return [effect for _, of_key in effects for effect in of_key]


def _groups(runs: Sequence[RunState], key: str) -> dict[str, list[RunState]]:
    found = [run.flat.get(key, ABSENT) for run in runs]
    distinct = {repr(value) for value in found}
    numbers = sorted(v for v in found if isinstance(v, int | float))
    groups: dict[str, list[RunState]] = {}
    if len(distinct) <= _GROUPS or len(numbers) < len(found):
        for run in runs:
            groups.setdefault(str(run.flat.get(key, ABSENT)), []).append(run)
        return dict(sorted(groups.items(), key=lambda pair: _number(pair[0])))
    ordered = sorted(runs, key=lambda run: float(run.flat[key]))
    size = math.ceil(len(ordered) / _GROUPS)
    for start in range(0, len(ordered), size):
        part = ordered[start : start + size]
        groups[f"{part[0].flat[key]:g} … {part[-1].flat[key]:g}"] = part
    return groups


def _number(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _order(value: float, direction: Direction) -> float:
    if not math.isfinite(value):
        return math.inf
    return value if direction == "min" else -value
