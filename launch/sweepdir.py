"""A sweep's directory: its layout, and the list of its runs.

SWEEP_DIR/
  sweep.json          the sweep's name, metric, throttle, pack and cluster, as last launched
  runs.jsonl          every run that was ever planned here: id and flat config
  ledger.jsonl        the submissions
  configs/ID.yaml     the trainer's config
  runs/ID/            the run's directory, written by the trainer
  jobs/TOKEN/         one submission: its tasks, its job script, the jobs' output
  code/DIGEST/        the code at submission
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.files import replacing, write_json, write_text
from gantrain.common.yaml_core import dump_yaml
from launch.dotted import apply_settings
from launch.plan import PlannedRun, rename_old_flat_keys
from launch.sweepfile import load_sweep

SWEEP = "sweep.json"
RUNS = "runs.jsonl"
TASKS = "elements.json"  # in a submission's directory
STARTED = "started"  # started-INDEX.json there: written by the first rank of a task


@dataclass(frozen=True)
class StoredRun:
    """A run of the sweep as stored in its directory, with the present names of all config keys."""

    id: str
    flat: dict[str, Any]


def find_sweep_dir(target: Path) -> Path:
    """Return the sweep directory of a command's argument: a sweep directory or a sweep file.

    Raises UserError if no sweep was launched there.
    """
    directory = directory_of(target) if target.is_file() else target
    if not (directory / SWEEP).is_file():
        raise UserError(
            f"{directory}: no sweep was launched here; give a sweep's directory or file, "
            "or launch it with `python -m launch sweep FILE`."
        )
    return directory


def directory_of(sweep_file: Path) -> Path:
    """Return the sweep directory of a sweep file."""
    sweep = load_sweep(sweep_file)
    return sweep.dir or Path("runs") / sweep.name


def run_dir(sweep_dir: Path, run: str) -> Path:
    """Return the directory of one run."""
    return sweep_dir / "runs" / run


def config_file(sweep_dir: Path, run: str) -> Path:
    """Return the trainer's config file of one run."""
    return sweep_dir / "configs" / f"{run}.yaml"


def job_dir(sweep_dir: Path, token: str) -> Path:
    """Return the directory of one submission."""
    return sweep_dir / "jobs" / token


def read_settings(sweep_dir: Path) -> dict[str, Any]:
    """Return the settings with which the sweep was last launched."""
    settings: dict[str, Any] = json.loads((sweep_dir / SWEEP).read_text(encoding="utf-8"))
    return settings


def write_settings(sweep_dir: Path, settings: dict[str, Any]) -> None:
    """Store the settings with which the sweep is launched."""
    write_json(sweep_dir / SWEEP, settings)


def read_runs(sweep_dir: Path) -> list[StoredRun]:
    """Return every run that was planned here, in the order in which they were added."""
    path = sweep_dir / RUNS
    if not path.exists():
        return []
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [StoredRun(line["id"], rename_old_flat_keys(line["flat"])) for line in lines]


def add_runs(sweep_dir: Path, planned: Iterable[PlannedRun]) -> list[StoredRun]:
    """Add the runs that are not stored yet, and return all runs."""
    runs = {run.id: run for run in read_runs(sweep_dir)}
    for run in planned:
        runs.setdefault(run.id, StoredRun(run.id, run.flat))
    lines = (json.dumps({"id": run.id, "flat": run.flat}) + "\n" for run in runs.values())
    write_text(sweep_dir / RUNS, "".join(lines))
    return list(runs.values())


def write_config(sweep_dir: Path, run: PlannedRun, overrides: dict[str, Any]) -> None:
    """Write the trainer's config file; `overrides` are the dotted keys that the launcher sets."""
    tree = apply_settings(run.tree, overrides)
    # Not fsynced, since a sweep may have thousands of runs; `retry` writes a lost one again.
    with replacing(config_file(sweep_dir, run.id), durable=False) as temporary:
        temporary.write_text(dump_yaml(tree), encoding="utf-8")
