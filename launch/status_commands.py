"""The commands that read a sweep: status, tail, doctor, leaderboard."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from gantrain.common.errors import UserError
from gantrain.common.streams import listener_left
from launch.damage import warn_of_damage
from launch.doctor import diagnose_runs
from launch.job_logs import job_logs
from launch.leaderboard import (
    build_leaderboard,
    choose_direction,
    logged_metrics,
    require_metric,
)
from launch.metric_names import Direction
from launch.plan import differences, differing_keys
from launch.settings import read_ranking
from launch.states import SweepStatus, read_sweep_status, select_runs, with_damaged_metrics
from launch.sweepdir import find_sweep_dir, run_dir
from launch.tables import (
    count_states,
    print_diagnoses,
    print_json,
    print_leaderboard,
    print_status,
)

logger = logging.getLogger(__name__)

_JSON_FIELDS = (
    *("run", "state", "reason", "images", "total", "job", "slurm", "nodes", "outcome"),
    *("attempts", "heartbeat", "slurm_detail", "damage", "training", "quality", "quality_evidence"),
)


def find_status(target: Path) -> tuple[Path, SweepStatus]:
    """Return the sweep directory of a command's argument, and the sweep's status.

    Logs a warning if Slurm does not respond. Raises UserError if there is no sweep.
    """
    sweep_dir = find_sweep_dir(target)
    status = read_sweep_status(sweep_dir)
    if status.slurm_error:
        logger.warning(
            f"launch: no answer from Slurm, so the states are from the runs' files only: "
            f"{status.slurm_error}"
        )
    return sweep_dir, status


def show_status(target: Path, runs: Sequence[str] | None, *, limit: int, json: bool) -> None:
    """Print the state of every run, or of the given ones."""
    _, status = find_status(target)
    keys = differing_keys([run.flat for run in status.runs])
    selected = select_runs(status.runs, runs)
    warn_of_damage(status, ())
    if json:
        rows = [
            {name: getattr(run, name) for name in _JSON_FIELDS}
            | {"differences": differences(run.flat, keys)}
            for run in selected
        ]
        print_json({"runs": rows, "trouble": status.slurm_error, "damage": status.damage})
        return
    print_status(selected, keys, limit or len(selected))
    print(count_states(selected))


def show_log(target: Path, run: str, *, rank: int, lines: int, follow: bool, json: bool) -> None:
    """Print the last lines of one rank's log; of the job's own if the worker did not start.

    Raises UserError if there is neither.
    """
    sweep_dir, status = find_status(target)
    selected = select_runs(status.runs, [run])[0]
    warn_of_damage(status, [selected])
    path = run_dir(sweep_dir, selected.run) / "logs" / f"rank{rank}.log"
    if not path.exists():
        own = job_logs(sweep_dir, selected.job, selected.token)
        if not own:
            raise UserError(f"{path}: no log yet; the run is {selected.state}.")
        logger.warning(f"launch: {path}: no log yet; this is the job's own, {own[0].path}")
        path = own[0].path
    tail = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    if json:
        print_json({"run": selected.run, "state": selected.state, "log": path, "lines": tail})
        return
    print("\n".join(tail), flush=True)
    if follow:
        _follow(path)


def show_diagnoses(target: Path, runs: Sequence[str] | None, *, json: bool) -> None:
    """Print why runs ended early."""
    sweep_dir, status = find_status(target)
    warn_of_damage(status, ())
    diagnoses = diagnose_runs(sweep_dir, select_runs(status.runs, runs))
    if json:
        print_json({"diagnoses": diagnoses})
    elif diagnoses:
        print_diagnoses(diagnoses)
    else:
        print(f"no run ended early: {count_states(status.runs)}")


def show_leaderboard(
    target: Path,
    metric: str | None,
    direction: Direction | None,
    kimg: float | None,
    *,
    limit: int,
    json: bool,
) -> None:
    """Print the settings ranked by a metric, and the main effects.

    Raises UserError if the runs have not logged the metric.
    """
    sweep_dir, status = find_status(target)
    ranking = read_ranking(sweep_dir)
    runs = with_damaged_metrics(sweep_dir, status.runs)
    warn_of_damage(status, runs)
    chosen = require_metric(metric or ranking.metric, logged_metrics(sweep_dir, runs))
    better = choose_direction(chosen, ranking.metric, ranking.direction, direction)
    board = build_leaderboard(sweep_dir, runs, chosen, better, kimg)
    if json:
        print_json(board)
    else:
        print_leaderboard(board, limit or len(board.rows))


def _follow(path: Path) -> None:
    with path.open(encoding="utf-8", errors="replace") as file:
        file.seek(0, 2)
        try:
            while not listener_left():
                text = file.readline()
                if text:
                    print(text, end="", flush=True)
                else:
                    time.sleep(0.5)
        except KeyboardInterrupt:
            return
