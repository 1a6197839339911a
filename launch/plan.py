"""The runs of a sweep: their configs, their ids, and the keys in which they differ."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.records import flatten, unflatten
from gantrain.common.text import counted
from gantrain.config import current_key, expand_path, load_config, parse_config, read_config
from gantrain.config.paths import escape_paths, path_keys
from gantrain.config.schedules import describe
from gantrain.config.schema import RENAMED_KEYS
from launch.dotted import Settings, apply_settings, flat_settings
from launch.metric_checks import check_metrics
from launch.sweepfile import SweepFile, expand, idle_rules

# Keys that do not affect the trained weights and so are not part of a run's id: output locations,
# names in W&B, number of ranks and device, how images are loaded.
NOT_IN_ID = (
    *("output.", "wandb.", "metrics."),
    *("training.world_size", "training.device", "guard.hang_seconds"),
    *("data.workers", "data.cache_dir", "data.device_share", "data.shard_cache_gb"),
    *("data.timeout_s", "data.retries", "data.on_change"),
)
ABSENT = "—"  # shown for a key that the run's objective does not have
# Ids are hashes of the names that keys had in version 0.1, so that renaming a key keeps them.
_HASHED_NAMES = {new: old for old, new in RENAMED_KEYS.items()}
# Hashed as the bf16 that the shipped configs had before, so that their sweeps keep their runs.
_BF16_WHERE_FASTER = ("training.mixed_precision", "auto")


@dataclass(frozen=True)
class PlannedRun:
    """One run: its id, and its validated config as dotted keys with plain values.

    source: `config` and `overrides` of a run that was submitted alone.
    """

    id: str
    flat: dict[str, Any]
    source: dict[str, Any] | None = None

    @property
    def tree(self) -> dict[str, Any]:
        """The config as a tree of sections."""
        return unflatten(self.flat)


@dataclass(frozen=True)
class SweepPlan:
    """The runs of a sweep file, and what a user should know about them.

    points: number of points that the file expands to; equal ones are one run. notices: lines for
    display.
    """

    runs: list[PlannedRun]
    points: int
    notices: list[str]


def plan_sweep(sweep: SweepFile, source: Path, world_size: int) -> SweepPlan:
    """Validate every point of the sweep for `world_size` ranks; equal configs become one run.

    Raises UserError naming the first point whose config is invalid, if all points are equal, or if
    some run does not measure what the sweep compares.
    """
    base = _with_placeholders(_read_base(sweep, source), world_size)
    runs: dict[str, PlannedRun] = {}
    points = list(expand(sweep))
    for point in points:
        place = f"{source}: the point {_describe(point)}"
        run = _validate(_apply(base, point, place), place)
        runs.setdefault(run.id, run)
    _check_paths(runs.values(), source)
    if not runs:
        raise UserError(f"{source}: the sweep has no runs; `exclude` drops every point.")
    outside = _varied_outside_id(points) if len(runs) < len(points) else []
    why = f" ({', '.join(outside)}: not part of a run's id)" if outside else ""
    if len(runs) == 1 < len(points):
        raise UserError(
            f"{source}: the {len(points)} points are one and the same run{why}; vary something "
            "that affects the trained weights."
        )
    notices = [f"exclude: {_describe(rule)} drops no point" for rule in idle_rules(sweep)]
    if equal := len(points) - len(runs):
        notices.insert(
            0, f"{len(points):,} points, {counted(len(runs), 'run')}: {equal:,} equal{why}"
        )
    notices += check_metrics(sweep, source, {run.id: run.flat for run in runs.values()})
    return SweepPlan(list(runs.values()), len(points), notices)


def plan_runs(sweep: SweepFile, source: Path, world_size: int) -> list[PlannedRun]:
    """Return the runs of `plan_sweep`."""
    return plan_sweep(sweep, source, world_size).runs


def plan_run(config: Path, overrides: Sequence[str], world_size: int) -> PlannedRun:
    """Plan one run from a config file and overrides. Raises UserError if they are not valid."""
    tree = escape_paths(load_config(config, overrides).model_dump(mode="json"))
    run = _validate(_with_placeholders(tree, world_size), str(config))
    source = {"config": str(config.absolute()), "overrides": list(overrides)}
    return replace(run, source=source)


def _read_base(sweep: SweepFile, source: Path) -> dict[str, Any]:
    return _apply(read_config(sweep.base, kind="base config"), sweep.set, f"{source}: set")


def _apply(tree: Mapping[str, Any], settings: Settings, place: str) -> dict[str, Any]:
    try:
        return apply_settings(tree, settings)
    except ValueError as error:
        raise UserError(f"{place}: {error}.") from None


def _check_paths(runs: Iterable[PlannedRun], source: Path) -> None:
    """Raise UserError if a path has a variable that is not set; ids are of paths as written."""
    # Of data.cache_dir the node knows the variables.
    keys = [key for key in path_keys() if key != "data.cache_dir"]
    for key, path in dict.fromkeys((key, run.flat.get(key)) for run in runs for key in keys):
        if path is not None:
            expand_path(path, f"{source}: {key}")


def _varied_outside_id(points: Sequence[Settings]) -> list[str]:
    """Return the keys that differ between these points and are not part of a run's id."""
    flats = [flat_settings(point) for point in points]
    keys = dict.fromkeys(key for flat in flats for key in flat if key.startswith(NOT_IN_ID))
    return [key for key in keys if len({repr(flat.get(key, ABSENT)) for flat in flats}) > 1]


def _with_placeholders(tree: Mapping[str, Any], world_size: int) -> dict[str, Any]:
    # The run directory is named after the id, which is not known yet.
    return apply_settings(tree, {"output.run_dir": "RUN", "training.world_size": world_size})


def _validate(tree: Mapping[str, Any], source: str) -> PlannedRun:
    config = parse_config(tree, source)
    # Without defaults: a key that a later version adds does not change existing ids.
    changed = flatten(config.model_dump(mode="json", exclude_defaults=True))
    return PlannedRun(run_id(changed), flatten(config.model_dump(mode="json")))


def run_id(changed: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of the settings that affect the trained weights.

    changed: dotted keys and values of the settings that differ from their defaults.
    """
    hashed = {
        _HASHED_NAMES.get(key, key): "bf16" if (key, value) == _BF16_WHERE_FASTER else value
        for key, value in changed.items()
        if not key.startswith(NOT_IN_ID)
    }
    text = json.dumps(hashed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def rename_old_flat_keys(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat config that an older version stored, with the present names of its keys."""
    return {current_key(key): value for key, value in flat.items()}


def differing_keys(flats: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys with more than one value over these runs, in the config's order.

    Runs without a known config, an empty one here, do not count.
    """
    flats = [flat for flat in flats if flat]
    values: dict[str, str] = {}
    differing: dict[str, None] = {}
    keys = dict.fromkeys(key for flat in flats for key in flat)
    for key in keys:
        if key.startswith(NOT_IN_ID):
            continue
        for flat in flats:
            text = repr(flat.get(key, ABSENT))
            if values.setdefault(key, text) != text:
                differing[key] = None
                break
    # A key that is a number in some runs and a schedule in others is one difference.
    mixed = [key for key in differing if any(k.startswith(f"{key}.") for k in keys)]
    return [key for key in differing if not any(key.startswith(f"{m}.") for m in mixed)]


def differences(flat: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return one run's values of the keys that differ; ABSENT for a key that it does not have.

    Schedules are text.
    """
    return {key: describe(_value_at(flat, key)) for key in keys}


def _value_at(flat: Mapping[str, Any], key: str) -> Any:
    if key in flat:
        return flat[key]
    start = f"{key}."
    return {k.removeprefix(start): v for k, v in flat.items() if k.startswith(start)} or ABSENT


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return for each dotted key its shortest suffix that no other key has.

    A key of a schedule, such as `to`, is named after what is scheduled: `learning_rate.to`.
    """
    settings = {key: ".".join(key.split(".")[:2]) for key in keys}
    distinct = set(settings.values())
    names = {}
    for key, setting in settings.items():
        suffixes = [setting.rpartition(".")[2], setting]
        unique = [s for s in suffixes if sum(k == s or k.endswith("." + s) for k in distinct) == 1]
        names[key] = (unique[0] if unique else setting) + key.removeprefix(setting)
    return names


def run_name(flat: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Return the run's name for display and for W&B: its differences, in at most 120 characters."""
    names = short_names(keys)
    parts = [f"{names[k]}={v}" for k, v in differences(flat, keys).items() if v != ABSENT]
    return " ".join(parts)[:120]


def _describe(point: Settings) -> str:
    return " ".join(f"{key}={value}" for key, value in point.items()) or "without changes"
