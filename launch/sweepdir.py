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

import itertools
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.files import replacing, write_json
from gantrain.common.records import is_number, read_object
from gantrain.common.yaml_core import dump_yaml
from gantrain.config import expand_paths
from gantrain.config.paths import escape_paths
from gantrain.runs.records import numbered_records, read_json
from launch.dotted import apply_settings
from launch.plan import PlannedRun, rename_old_flat_keys
from launch.project import as_seen_from_here, root_of
from launch.sweepfile import read_sweep

SWEEP = "sweep.json"
RUNS = "runs.jsonl"
TASKS = "elements.json"  # in a submission's directory
RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")
STARTED = "started"  # started-INDEX.json there: written by the first rank of a task

LAUNCH_AGAIN = "Launch the sweep again with `gantrain launch sweep FILE`, which writes it anew."


@dataclass(frozen=True)
class StoredRun:
    """A run of the sweep as stored in its directory, with the present names of all config keys.

    problem: the damaged line that this run had, if its config is not known; flat is empty then.
    source: as in PlannedRun.
    """

    id: str
    flat: dict[str, Any]
    problem: str = ""
    source: dict[str, Any] | None = None


def find_sweep_dir(target: Path) -> Path:
    """Return the sweep directory of a command's argument: a sweep directory or a sweep file.

    Raises UserError if no sweep was launched there.
    """
    directory = directory_of(target) if target.is_file() else target
    if not (directory / SWEEP).is_file():
        raise UserError(
            f"{directory}: no sweep was launched here; give a sweep's directory or file, "
            "or launch it with `gantrain launch sweep FILE`."
        )
    return directory


def directory_of(sweep_file: Path) -> Path:
    """Return the sweep directory of a sweep file; it does not depend on the working directory.

    A relative one is in the project of the sweep file, without a project beside the file. A sweep
    that an earlier version launched in the working directory stays there.
    """
    sweep = read_sweep(sweep_file)
    directory = sweep.dir or Path("runs") / sweep.name
    there = root_of(sweep_file) / directory
    if not (there / SWEEP).exists():
        stored = read_json(directory / SWEEP)
        if stored is not None and stored.get("name") == sweep.name:
            return directory
    return as_seen_from_here(there)


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
    """Return the settings with which the sweep was last launched.

    Raises UserError if the file is damaged.
    """
    try:
        return read_object(sweep_dir / SWEEP)
    except UserError as error:
        raise UserError(f"{error} {LAUNCH_AGAIN}") from None


def write_settings(sweep_dir: Path, settings: dict[str, Any]) -> None:
    """Store the settings with which the sweep is launched; keys of later versions stay."""
    write_json(sweep_dir / SWEEP, {**(read_json(sweep_dir / SWEEP) or {}), **settings})


def read_runs(sweep_dir: Path) -> list[StoredRun]:
    """Return every run that was planned here, in the order in which they were added.

    A damaged line becomes a run without a config; its id is empty if the line does not show it.
    """
    path = sweep_dir / RUNS
    problems: list[str] = []
    runs: dict[str, StoredRun] = {}
    damaged: list[StoredRun] = []
    for number, line in numbered_records(path, problems):
        run, flat = line.get("id"), line.get("flat")
        if not isinstance(run, str) or not RUN_ID.fullmatch(run):
            problems.append(f"{path}:{number}: id: has no valid value")
        elif not isinstance(flat, dict) or not _is_length(flat.get("training.total_kimg")):
            damaged.append(StoredRun(run, {}, f"{path}:{number}: flat: is not the config of a run"))
        else:
            source = line.get("source")
            known = source if isinstance(source, dict) else None
            runs.setdefault(run, StoredRun(run, rename_old_flat_keys(flat), source=known))
    damaged += [StoredRun(_id_in(path, problem), {}, problem) for problem in problems]
    for run in damaged:
        runs.setdefault(run.id or run.problem, run)
    return list(runs.values())


def add_runs(sweep_dir: Path, planned: Iterable[PlannedRun]) -> list[StoredRun]:
    """Add the runs that are not stored yet or whose line is damaged, and return all runs.

    Lines that are there stay as they are.
    """
    path = sweep_dir / RUNS
    stored = {run.id for run in read_runs(sweep_dir) if run.flat}
    new = {run.id: run for run in planned if run.id not in stored}
    if new or not path.exists():
        before = path.read_bytes() if path.exists() else b""
        if before and not before.endswith(b"\n"):
            before += b"\n"
        lines = (json.dumps(_line_of(run)) + "\n" for run in new.values())
        with replacing(path) as temporary:
            temporary.write_bytes(before + "".join(lines).encode())
    return read_runs(sweep_dir)


def _line_of(run: PlannedRun) -> dict[str, Any]:
    line = {"id": run.id, "flat": run.flat}
    return {**line, "source": run.source} if run.source else line


def _is_length(kimg: object) -> bool:
    return is_number(kimg) and 0 < kimg < 1e12


def _id_in(path: Path, problem: str) -> str:
    """Return the id that a damaged line still shows, else an empty string."""
    number = problem.removeprefix(f"{path}:").partition(":")[0]
    if not number.isdigit():
        return ""
    with suppress(OSError, StopIteration), path.open("rb") as file:
        line = next(itertools.islice(file, int(number) - 1, None))
        if match := re.search(rb'"id": ?"([0-9a-f]{12})"', line):
            return match.group(1).decode()
    return ""


def write_config(sweep_dir: Path, run: PlannedRun, overrides: dict[str, Any]) -> None:
    """Write the trainer's config file; `overrides` are the dotted keys that the launcher sets.

    Paths are expanded here, since a job may not have the user's variables; `data.cache_dir` is
    expanded on the node, whose scratch it is.

    Raises UserError if a variable is not set.
    """
    path = config_file(sweep_dir, run.id)
    tree = run.tree
    cache_dir = tree["data"].pop("cache_dir", None)
    tree = apply_settings(expand_paths(tree, f"run {run.id}"), overrides)
    tree = apply_settings(escape_paths(tree), {"data.cache_dir": cache_dir})
    # Not fsynced, since a sweep may have thousands of runs; `retry` writes a lost one again.
    with replacing(path, durable=False) as temporary:
        temporary.write_text(dump_yaml(tree), encoding="utf-8")
