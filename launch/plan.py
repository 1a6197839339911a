"""The runs of a sweep: configs, identities, and in what they differ."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gantrain.common.errors import UserError
from gantrain.common.records import flatten
from gantrain.config import parse_config
from launch.sweepfile import Point, SweepFile, apply, expand

# What does not change what is learnt, and so is no part of a run's identity: where it is written,
# what W&B calls it, on how many ranks and what device it happens, how the images are fetched.
NOT_IDENTITY = (
    *(
        "output.",
        "wandb.",
        "metrics.",
        "training.world_size",
        "training.device",
        "guard.hang_seconds",
    ),
    *("data.workers", "data.cache_dir", "data.device_share", "data.shard_cache_gb"),
    *("data.timeout_s", "data.retries"),
)
ABSENT = "—"  # a key that the run's objective does not have


@dataclass(frozen=True)
class PlannedRun:
    """One run: its identity, and its validated config as dotted keys with plain values."""

    id: str
    flat: dict[str, Any]

    @property
    def tree(self) -> dict[str, Any]:
        """The config as a tree."""
        return unflatten(self.flat)


def plan_runs(sweep: SweepFile, source: Path, world_size: int) -> list[PlannedRun]:
    """Validate every point of the sweep for this many ranks; equal configs give one run.

    Raises UserError naming the first point that is no valid config.
    """
    base = _seated(apply(read_tree(sweep.base), sweep.set), world_size)
    runs: dict[str, PlannedRun] = {}
    for point in expand(sweep):
        run = _validated(apply(base, point), f"{source}: the point {_short(point)}")
        runs.setdefault(run.id, run)
    if not runs:
        raise UserError(f"{source}: the sweep has no run; `exclude` drops every point.")
    return list(runs.values())


def plan_run(tree: Mapping[str, Any], source: str, world_size: int) -> PlannedRun:
    """One run from a config tree; `source` names it in the UserError."""
    return _validated(_seated(tree, world_size), source)


def _seated(tree: Mapping[str, Any], world_size: int) -> dict[str, Any]:
    # The run directory is named after the identity, which is not known yet.
    return apply(tree, {"output.run_dir": "RUN", "training.world_size": world_size})


def _validated(tree: Mapping[str, Any], source: str) -> PlannedRun:
    config = parse_config(tree, source)
    # Without defaults: a setting that a later version adds leaves the identities as they are.
    told = flatten(config.model_dump(mode="json", exclude_defaults=True))
    return PlannedRun(run_id(told), flatten(config.model_dump(mode="json")))


def read_tree(path: Path) -> dict[str, Any]:
    """A training config as it stands in its file."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: the base config cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected sections such as `data:` and `training:`.")
    return tree


def run_id(told: Mapping[str, Any]) -> str:
    """12 hexadecimal digits of the hash of all settings that decide what the run learns.

    `told` are the settings that are not the defaults.
    """
    kept = {k: v for k, v in told.items() if not k.startswith(NOT_IDENTITY)}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differing_keys(flats: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys that have more than one value over these runs, in the config's order."""
    if not flats:
        return []
    values: dict[str, str] = {}
    differing: dict[str, None] = {}
    keys = dict.fromkeys(key for flat in flats for key in flat)
    for key in keys:
        if key.startswith(NOT_IDENTITY):
            continue
        for flat in flats:
            text = repr(flat.get(key, ABSENT))
            if values.setdefault(key, text) != text:
                differing[key] = None
                break
    return list(differing)


def differences(flat: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """This run's values of the keys that differ."""
    return {key: flat.get(key, ABSENT) for key in keys}


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """For each dotted key the shortest ending that no other key has."""
    names = {}
    for key in keys:
        parts = key.split(".")
        endings = [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]
        free = [e for e in endings if sum(k == e or k.endswith("." + e) for k in keys) == 1]
        names[key] = free[0] if free else key
    return names


def run_name(flat: Mapping[str, Any], keys: Sequence[str]) -> str:
    """What W&B and people call the run: its differences, as short as can be."""
    names = short_names(keys)
    parts = [f"{names[k]}={v}" for k, v in differences(flat, keys).items() if v != ABSENT]
    return " ".join(parts)[:120]


def _short(point: Point) -> str:
    return " ".join(f"{key}={value}" for key, value in point.items()) or "without changes"


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The tree that `flatten` was given."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return tree
