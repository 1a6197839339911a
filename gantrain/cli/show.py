"""`gantrain show`."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gantrain.cli.options import RunPath
from gantrain.cli.printing import print_line, print_rows
from gantrain.common.errors import UserError
from gantrain.common.text import counted
from gantrain.runs.origin import START_COLUMNS, origin_rows, start_rows, utc
from gantrain.runs.paths import (
    CONFIG,
    EVENTS,
    GENERATOR,
    GENERATOR_BEST,
    METRICS,
    STATUS,
    list_checkpoints,
)

if TYPE_CHECKING:
    from gantrain.report.run_data import RunData
    from gantrain.runs.generator_file import Measured

_SHOWN_STARTS = 20


def show(
    run: RunPath,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what a run is: its state, the verdict, how it came about, and its files.

    Of a checkpoint or an exported generator, the run that it is in is shown.
    """
    from gantrain.report.run_data import read_run
    from gantrain.runs.generator_file import read_measured

    shown = read_run(_run_directory(run))
    best = read_measured(shown.run_dir / GENERATOR_BEST)
    if as_json:
        typer.echo(json.dumps(_to_record(shown, best), indent=2))
        return
    overview = shown.overview
    console = Console()
    print_line(console, f"run: {shown.run_dir}")
    print_line(console, f"state: {overview.state_words}")
    if overview.updated is not None:
        when = f"last update {utc(overview.updated)} UTC"
        print_line(console, f"progress: {overview.progress}, {when}")
    for line in overview.standing.lines:
        print_line(console, line)
    for name, text in origin_rows(overview.attempts):
        print_line(console, f"{name}: {text}")
    starts = start_rows(overview.attempts, overview.updated)
    print_rows(console, "starts", START_COLUMNS, starts[-_SHOWN_STARTS:])
    for line in _files(shown, best):
        print_line(console, line)
    for note in shown.notes:
        print_line(console, f"note: {note}")
    for command in overview.next_commands:
        print_line(console, f"next: {command}")


def _run_directory(path: Path) -> Path:
    """Return the run that a path means.

    Raises UserError if it means none; a folder of runs, such as a sweep, has commands of its own.
    """
    from gantrain.inference.sources import find_source
    from gantrain.report.watch import find_runs

    source = find_source(path)
    if source.run_dir is None:
        raise UserError(f"{path}: not in a run directory, which `gantrain show` is about.")
    folder, files = source.run_dir, (CONFIG, METRICS, STATUS, EVENTS)
    if not any((folder / name).exists() for name in files):
        runs = find_runs([folder])  # raises UserError without any
        others = "launch status" if (folder / "sweep.json").exists() else "watch"
        raise UserError(
            f"{folder}: a folder of {counted(len(runs), 'run')}; show one of them, such as "
            f"{runs[0]}, or all with `gantrain {others} {shlex.quote(str(folder))}`."
        )
    return folder


def _files(run: "RunData", best: "Measured | None") -> list[str]:
    """Return a line for each kind of file that the run has."""
    folder, lines = run.run_dir, []
    if checkpoints := list_checkpoints(folder):
        kimg = ", ".join(f"{images / 1000:g}" for images, _ in reversed(checkpoints))
        lines.append(f"checkpoints: at {kimg} kimg")
    if (folder / GENERATOR).exists():
        lines.append(f"generator: {folder / GENERATOR}")
    if best is not None:
        at = f"{best.metric} {best.value:.4g} at {best.images_seen / 1000:g} kimg"
        lines.append(f"best generator: {folder / GENERATOR_BEST} ({at})")
    if run.images:
        lines.append(f"metrics: {folder / METRICS} ({counted(len(run.images), 'line')})")
    if run.grids:
        lines.append(f"samples: {counted(len(run.grids), 'grid')}, the newest {run.grids[-1][1]}")
    return lines


def _to_record(run: "RunData", best: "Measured | None") -> dict[str, Any]:
    """Return everything that is shown as plain values; what is not known is null."""
    overview, folder = run.overview, run.run_dir
    return {
        "run": str(folder),
        "state": overview.state,
        "reason": overview.reason or None,
        "silence": asdict(overview.silence) if overview.silence else None,
        "images_seen": overview.images_seen,
        "total_images": overview.total_images,
        "images_per_second": overview.images_per_second or None,
        "seconds_left": overview.seconds_left,
        "wall_seconds": overview.wall_seconds,
        "updated": overview.updated,
        **overview.standing.to_record(),
        "verdict": run.verdict.to_record(),
        "attempts": overview.attempts or None,
        "checkpoints": [images for images, _ in list_checkpoints(folder)],
        "best": asdict(best) if best else None,
        "notes": run.notes,
        "next": overview.next_commands,
    }
