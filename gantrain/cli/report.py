"""Commands that show runs: report, watch, workspace."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live

from gantrain.cli.options import At, Best, RunPath, check_writable
from gantrain.common.errors import UserError
from gantrain.common.streams import listener_left
from gantrain.runs.paths import RUN_PAGE


def report(
    run: RunPath,
    at: At = None,
    best: Best = False,
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write. Default: RUN/report.html.")
    ] = None,
) -> None:
    """Write a page about a run: samples, curves, events, config. It works offline.

    With a checkpoint or an exported generator of the run, the page also shows samples of that
    generator and what was measured of it.
    """
    from gantrain.inference.export import open_generator
    from gantrain.inference.sources import find_source
    from gantrain.report.run_page import write_run_page

    source = find_source(run)
    if source.run_dir is None:
        raise UserError(f"{run}: not in a run directory, which a report is about.")
    check_writable(out or source.run_dir / RUN_PAGE, "--out")
    generator = None
    if at is not None or best or not source.is_run:
        generator = open_generator(run, at=at, best=best)
    path = write_run_page(source.run_dir, out, generator)
    typer.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


def watch(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run directories, folders of them such as runs/, or sweeps."),
    ],
    seconds: Annotated[float, typer.Option(min=0.2, help="Time between updates.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print the status once and exit.")] = False,
    curves: Annotated[int, typer.Option(min=0, help="Number of curves per run.")] = 8,
) -> None:
    """Watch the status, health and curves of runs in the terminal.

    A sweep, given by its directory or its file, has one line for each of its runs. Ctrl-C stops
    watching; the runs continue.
    """
    if once:
        Console().print(_render(runs, curves))
        return
    try:
        with Live(_render(runs, curves), refresh_per_second=4, screen=False) as live:
            while not listener_left():
                time.sleep(seconds)
                live.update(_render(runs, curves))
    except KeyboardInterrupt:
        return


def _render(paths: Sequence[Path], curves: int) -> RenderableType:
    from gantrain.report.watch import find_runs, render_runs
    from launch.sweep_view import is_sweep, render_sweep

    sweeps = [path for path in paths if is_sweep(path)]
    parts = [render_sweep(path) for path in sweeps]
    if others := [path for path in paths if path not in sweeps]:
        parts.append(render_runs(find_runs(others), curves))
    return Group(*parts)


def workspace(
    entity: Annotated[str, typer.Argument(help="W&B user or team.")],
    project: Annotated[str, typer.Argument(help="W&B project, as wandb.project of the runs.")],
) -> None:
    """Save a W&B workspace with the charts of a project grouped by topic, over images seen.

    Needs the package wandb-workspaces and a W&B account. Runs need neither.
    """
    from gantrain.report.wandb_workspace import save_workspace

    typer.echo(save_workspace(entity, project))
