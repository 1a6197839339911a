"""A sweep in the terminal of `gantrain watch`: a line for each run, in its present state."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gantrain.config.quality import full_name
from gantrain.report.watch import sparkline
from gantrain.runs.metrics_file import read_metrics
from launch.curves import measurements
from launch.damage import describe
from launch.leaderboard import default_metric, logged_metrics
from launch.plan import differences, differing_keys, short_names
from launch.settings import read_ranking
from launch.states import RunState, read_sweep_status
from launch.sweepdir import SWEEP, find_sweep_dir, run_dir
from launch.tables import STATE_COLOURS, count_states, format_progress, printable
from launch.values import format_value

_MAX_ROWS = 40
_SPARKLINE_WIDTH = 20
# Those that need attention or change come first.
_ORDER = ("running", "failed", "vanished", "damaged", "interrupted", "requeued", "pending")


def is_sweep(path: Path) -> bool:
    """Return whether a path is a sweep file or a sweep's directory."""
    return path.suffix in (".yaml", ".yml") or (path / SWEEP).is_file()


def render_sweep(target: Path) -> RenderableType:
    """Return a table of a sweep's runs. target: a sweep file or a sweep's directory.

    Raises UserError if no sweep was launched there.
    """
    sweep_dir = find_sweep_dir(target)
    runs = read_sweep_status(sweep_dir).runs
    ranking = read_ranking(sweep_dir)
    logged = logged_metrics(sweep_dir, runs)
    metric = (ranking.metric and full_name(ranking.metric, logged)) or default_metric(logged)
    better = "lower" if ranking.direction == "min" else "higher"
    heading = Text(ranking.name, style="bold")
    heading.append(f"  {count_states(runs)}", style="not bold")
    if metric:
        heading.append(f" · {metric}, {better} is better", style="not bold dim")
    shown = sorted(runs, key=_rank)[:_MAX_ROWS]
    table = _table(sweep_dir, runs, shown, metric)
    omitted = [Text(f"… and {len(runs) - len(shown)} more")] if len(runs) > len(shown) else []
    return Group(heading, table, *omitted)


def _table(
    sweep_dir: Path, runs: Sequence[RunState], shown: Sequence[RunState], metric: str | None
) -> Table:
    keys = differing_keys([run.flat for run in runs])
    table = Table(box=None, pad_edge=False)
    for name in ("run", "state", "kimg", metric or "metric", "", *short_names(keys).values()):
        table.add_column(Text(printable(name)))
    table.add_column("reason", overflow="ellipsis", no_wrap=True)
    for run in shown:
        values = [value for _, value in _measured(sweep_dir, run, metric)]
        settings = [format_value(value) for value in differences(run.flat, keys).values()]
        cells = [
            *(format_progress(run.images, run.total), f"{values[-1]:.4g}" if values else "—"),
            *(sparkline(values, _SPARKLINE_WIDTH), *settings, describe(run)),
        ]
        state = Text(run.state, style=STATE_COLOURS.get(run.state, ""))
        table.add_row(Text(run.run), state, *(Text(printable(cell)) for cell in cells))
    return table


def _measured(sweep_dir: Path, run: RunState, metric: str | None) -> list[tuple[float, float]]:
    if metric is None or not run.run:
        return []
    found = measurements(read_metrics(run_dir(sweep_dir, run.run)), metric)
    return [(images, value) for images, value in found if math.isfinite(value)]


def _rank(run: RunState) -> int:
    return _ORDER.index(run.state) if run.state in _ORDER else len(_ORDER)
