"""Commands that look: status, tail, doctor, leaderboard."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from gantrain.common.errors import UserError
from launch.doctor import examine
from launch.leaderboard import build_board, metrics_of
from launch.options import (
    JsonOption,
    LimitOption,
    RunsArgument,
    SweepArgument,
    choose,
    say,
    shown,
    standing_of,
    told,
)
from launch.plan import differences, differing_keys
from launch.states import RunState
from launch.sweepdir import read_settings, run_dir
from launch.tables import board_table, counts_line, doctor_table, print_json, status_table

_FIELDS = (
    *("run", "state", "reason", "images", "total", "job", "slurm", "nodes", "outcome"),
    *("attempts", "heartbeat"),
)


def status(
    target: SweepArgument,
    runs: RunsArgument = None,
    limit: LimitOption = 40,
    json: JsonOption = False,
) -> None:
    """Show how every run stands, from Slurm and from the runs' own files."""
    with told():
        _, standing = standing_of(target)
        keys = differing_keys([run.flat for run in standing.runs])
        chosen = choose(standing.runs, runs)
        if json:
            rows = [
                {name: getattr(run, name) for name in _FIELDS}
                | {"differences": differences(run.flat, keys)}
                for run in chosen
            ]
            print_json({"runs": rows, "trouble": standing.trouble})
            return
        status_table(chosen, keys, shown(limit, len(chosen)))
        say(counts_line(chosen))


def tail(
    target: SweepArgument,
    run: Annotated[str, typer.Argument(help="the start of the run's name")],
    lines: Annotated[int, typer.Option("-n", min=1, help="lines to show")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on with new lines")] = False,
    rank: Annotated[int, typer.Option(min=0)] = 0,
    json: JsonOption = False,
) -> None:
    """Show the end of a run's log, over all of its jobs."""
    with told():
        sweep_dir, standing = standing_of(target, ask_slurm=False)
        chosen = choose(standing.runs, [run])[0]
        path = run_dir(sweep_dir, chosen.run) / "logs" / f"rank{rank}.log"
        if not path.exists():
            raise UserError(f"{path}: no log yet; the run is {chosen.state}.")
        text = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        if json:
            print_json({"run": chosen.run, "state": chosen.state, "log": path, "lines": text})
            return
        say("\n".join(text))
        if follow:
            _follow(path)


def doctor(target: SweepArgument, runs: RunsArgument = None, json: JsonOption = False) -> None:
    """Say why each dead run died, and what to do."""
    with told():
        sweep_dir, standing = standing_of(target)
        diagnoses = examine(sweep_dir, choose(standing.runs, runs))
        if json:
            print_json({"diagnoses": diagnoses})
        elif diagnoses:
            doctor_table(diagnoses)
        else:
            say("no dead runs: " + counts_line(standing.runs))


def leaderboard(
    target: SweepArgument,
    metric: Annotated[str | None, typer.Option(help="a key of metrics.jsonl")] = None,
    direction: Annotated[str | None, typer.Option(metavar="min|max")] = None,
    kimg: Annotated[float | None, typer.Option(help="compare at this many kimg")] = None,
    limit: LimitOption = 40,
    json: JsonOption = False,
) -> None:
    """Rank the runs by a metric at equal images seen; show each hyperparameter's main effect."""
    with told():
        sweep_dir, standing = standing_of(target, ask_slurm=False)
        settings = read_settings(sweep_dir)
        board = build_board(
            sweep_dir,
            standing.runs,
            checked_metric(sweep_dir, standing.runs, metric or settings["metric"]),
            checked_direction(direction or settings["direction"]),
            kimg,
        )
        if json:
            print_json(board)
        else:
            board_table(board, shown(limit, len(board.rows)))


def checked_metric(sweep_dir: Path, runs: list[RunState], metric: str | None) -> str:
    """The metric, if the runs have logged it. Raises UserError that lists those they have."""
    known = metrics_of(sweep_dir, runs)
    if metric is None or (known and metric not in known):
        said = "no metric is named" if metric is None else f"metric {metric!r}: never logged"
        raise UserError(f"{said}; choose --metric from: {', '.join(known) or 'none'}.")
    return metric


def checked_direction(text: str) -> Literal["min", "max"]:
    """min or max. Raises UserError for anything else."""
    if text == "min":
        return "min"
    if text == "max":
        return "max"
    raise UserError(f"--direction: {text!r} found; expected min or max.")


def _follow(path: Path) -> None:
    with path.open(encoding="utf-8", errors="replace") as file:
        file.seek(0, 2)
        try:
            while True:
                text = file.readline()
                if text:
                    print(text, end="", flush=True)
                else:
                    time.sleep(0.5)
        except KeyboardInterrupt:
            return
