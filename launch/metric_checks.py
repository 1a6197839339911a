"""Refuses metrics that a sweep's runs do not measure, and halving that could not compare them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.validation import nearest
from gantrain.config import expand_path
from gantrain.config.quality import full_name, goal_of, images_for_fid
from gantrain.runs.records import Record, read_json
from launch.halving import LATEST, rungs
from launch.metric_names import LABELLED, measures, names_of
from launch.project import project_of
from launch.sweepfile import EarlyStop, SweepFile

Flats = Mapping[str, Mapping[str, Any]]  # the flat configs of runs by their ids


def check_metrics(sweep: SweepFile, source: Path, runs: Flats) -> list[str]:
    """Check what the sweep ranks and stops its runs by; return lines for display.

    Raises UserError if some run does not measure it, if its best value is neither the lowest nor
    the highest and no direction is given, or if halving would compare nothing.
    """
    rule = sweep.early_stop
    if sweep.metric is None and rule is None:
        return []
    runs = _with_labels(runs, source)
    if sweep.metric is not None:
        _check(f"{source}: metric", sweep.metric, runs)
        _check_direction(f"{source}: metric", sweep.metric, sweep.direction)
    if rule is None:
        return []
    _check(f"{source}: early_stop.metric", rule.metric, runs)
    _check_direction(f"{source}: early_stop.metric", rule.metric, rule.direction)
    return _check_rungs(f"{source}: early_stop.min_kimg", rule, runs)


def first_measurement(flat: Mapping[str, Any], metric: str) -> int:
    """Return images seen at the first line of metrics.jsonl that has a metric."""
    # The trainer logs and measures at the end of iterations only.
    step = flat["training.batch_size"] * flat["objective.n_critic"]
    every = flat["output.log_every_kimg"] * 1000
    total = round(flat["training.total_kimg"] * 1000)
    due = every
    if metric.startswith("quality/"):
        due = flat["metrics.every_kimg"] * 1000
    line = max(1, int((due - step) // every))
    while _end_of_iteration(line * every, step) < min(due, total):
        line += 1
    return min(_end_of_iteration(line * every, step), _end_of_iteration(total, step))


def _with_labels(runs: Flats, source: Path) -> Flats:
    """Return the configs with the key LABELLED, where a local data set tells."""
    sets: dict[str, bool] = {}
    resolved = {}
    for run, flat in runs.items():
        shards = str(flat["data.shards"])
        if shards not in sets:
            folders = (project_of(source) or Path(), Path())
            paths = (f / expand_path(shards, f"{source}: data.shards") for f in folders)
            manifests = (read_json(path / "manifest.json") for path in paths)
            sets[shards] = _is_labelled(next((m for m in manifests if m is not None), None))
        resolved[run] = {**flat, LABELLED: sets[shards]}
    return resolved


def _is_labelled(manifest: Record | None) -> bool:
    """Return whether a data set has classes to tell apart; True if it is unknown."""
    classes = (manifest or {}).get("classes")
    return len(classes) > 1 if isinstance(classes, dict) else True


def _end_of_iteration(images: float, step: int) -> int:
    return int(-(-images // step)) * step


def _check(place: str, metric: str, runs: Flats) -> None:
    lacking = [run for run, flat in runs.items() if not measures(flat, metric)]
    if not lacking:
        return
    flat = runs[lacking[0]]
    common = [name for name in names_of(flat) if all(measures(f, name) for f in runs.values())]
    choices = f"Choose one that all runs measure: {', '.join(common)}."
    if len(lacking) < len(runs):
        key = "objective.kind" if metric.startswith(("loss/", "health/")) else "metrics.features"
        raise UserError(
            f"{place}: {metric!r}: {len(lacking)} of {len(runs)} runs do not measure it, such as "
            f"{lacking[0]} with {key}: {flat[key]}. {choices}"
        )
    if metric.startswith("quality/") and not flat["metrics.every_kimg"]:
        raise UserError(
            f"{place}: {metric!r}: metrics.every_kimg is 0, so that no quality is measured. "
            f"Set it, or choose one of: {', '.join(common)}."
        )
    kind = flat["metrics.features"]
    if metric.startswith("quality/fid") and flat["metrics.samples"] < images_for_fid(kind):
        raise UserError(
            f"{place}: {metric!r}: metrics.samples: {flat['metrics.samples']}: FID needs "
            f"{images_for_fid(kind)} images; measure more, or rank by quality/kid."
        )
    raise UserError(
        f"{place}: {metric!r}: these runs do not measure it; the nearest is "
        f"{nearest(metric, common)!r}. {choices}"
    )


def _check_direction(place: str, metric: str, direction: str | None) -> None:
    if direction is None and goal_of(metric) == "near 1":
        raise UserError(
            f"{place}: {metric!r}: its best value is 1, and runs are ranked by the lowest or the "
            "highest; set `direction`, or choose another metric."
        )


def _check_rungs(place: str, rule: EarlyStop, runs: Flats) -> list[str]:
    without = []
    for run, flat in runs.items():
        metric = full_name(rule.metric, names_of(flat)) or rule.metric
        first = first_measurement(flat, metric)
        if first > rule.min_kimg * 1000 * LATEST:
            key = "metrics" if metric.startswith("quality/") else "output.log"
            key = f"{key}.every_kimg" if key == "metrics" else f"{key}_every_kimg"
            raise UserError(
                f"{place}: {rule.min_kimg:g}: {metric} is first measured at {first / 1000:g} kimg "
                f"({key}: {flat[key]:g}), so that there is nothing to compare before; set it "
                f"to {first / 1000:g} or more, or measure earlier."
            )
        if not rungs(rule, round(flat["training.total_kimg"] * 1000)):
            without.append(run)
    if len(without) == len(runs):
        total = next(iter(runs.values()))["training.total_kimg"]
        raise UserError(
            f"{place}: {rule.min_kimg:g}: the runs end at {total:g} kimg, before the first "
            "comparison, so that none is stopped early; set it lower."
        )
    return [f"early_stop: {len(without)} runs end before the first comparison"] if without else []
