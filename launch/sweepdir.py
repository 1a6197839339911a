"""A sweep's directory: where things are in it, and the list of its runs.

SWEEP_DIR/
  sweep.json          the sweep's name, metric, throttle, pack, cluster, as last launched
  runs.jsonl          every run that was ever planned here: identity and flat config
  ledger.jsonl        what was submitted
  configs/ID.yaml     what the trainer is given
  runs/ID/            the run's directory, the trainer's own
  jobs/TOKEN/         one submission: its elements, its job script, its jobs' logs
  code/DIGEST/        the code as it was when it was submitted
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gantrain.common.errors import UserError
from gantrain.common.files import replacing, write_json
from launch.plan import PlannedRun
from launch.sweepfile import apply, load_sweep

SWEEP = "sweep.json"
RUNS = "runs.jsonl"


@dataclass(frozen=True)
class KnownRun:
    """A run of the sweep, as the directory remembers it."""

    id: str
    flat: dict[str, Any]


def find_sweep_dir(target: Path) -> Path:
    """The directory that a command's argument means: itself, or that of a sweep file.

    Raises UserError if no sweep was launched there.
    """
    directory = target
    if target.is_file():
        directory = directory_of(target)
    if not (directory / SWEEP).is_file():
        raise UserError(
            f"{directory}: no sweep was launched here; give a sweep's directory or file, "
            "or launch it with `python -m launch sweep FILE`."
        )
    return directory


def directory_of(sweep_file: Path) -> Path:
    """Where the runs of this sweep file go."""
    sweep = load_sweep(sweep_file)
    return sweep.dir or Path("runs") / sweep.name


def run_dir(sweep_dir: Path, run: str) -> Path:
    """The directory of one run."""
    return sweep_dir / "runs" / run


def config_file(sweep_dir: Path, run: str) -> Path:
    """What the trainer is given for one run."""
    return sweep_dir / "configs" / f"{run}.yaml"


def job_dir(sweep_dir: Path, token: str) -> Path:
    """The directory of one submission."""
    return sweep_dir / "jobs" / token


def read_settings(sweep_dir: Path) -> dict[str, Any]:
    """The sweep as it was last launched."""
    settings: dict[str, Any] = json.loads((sweep_dir / SWEEP).read_text(encoding="utf-8"))
    return settings


def write_settings(sweep_dir: Path, settings: dict[str, Any]) -> None:
    """Remember the sweep as it is launched."""
    write_json(sweep_dir / SWEEP, settings)


def read_runs(sweep_dir: Path) -> list[KnownRun]:
    """Every run that was planned here, in the order in which they came."""
    path = sweep_dir / RUNS
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [KnownRun(line["id"], line["flat"]) for line in map(json.loads, lines)]


def add_runs(sweep_dir: Path, planned: Iterable[PlannedRun]) -> list[KnownRun]:
    """Put new runs on the list; gives the whole list."""
    known = {run.id: run for run in read_runs(sweep_dir)}
    for run in planned:
        known.setdefault(run.id, KnownRun(run.id, run.flat))
    with replacing(sweep_dir / RUNS) as temporary:
        lines = (json.dumps({"id": run.id, "flat": run.flat}) + "\n" for run in known.values())
        temporary.write_text("".join(lines), encoding="utf-8")
    return list(known.values())


def write_config(sweep_dir: Path, run: PlannedRun, launch: dict[str, Any]) -> None:
    """Write what the trainer is given; `launch` is what the launcher sets, by dotted key."""
    # libyaml's writer is ten times as fast as Python's, and a sweep may have thousands of runs.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    tree = apply(run.tree, launch)
    # Not fsynced, for the same reason: after a power cut, `retry` writes it anew.
    with replacing(config_file(sweep_dir, run.id), durable=False) as temporary:
        temporary.write_text(yaml.dump(tree, Dumper=dumper, sort_keys=False), encoding="utf-8")
