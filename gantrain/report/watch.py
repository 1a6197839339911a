"""The status, health and curves of runs, rendered for the terminal."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from gantrain.common.errors import UserError
from gantrain.config.quality import interval_names
from gantrain.health.problems import NO_FAULT
from gantrain.report.run_data import RunData, read_run
from gantrain.runs.paths import METRICS, STATUS
from gantrain.runs.progress import accuracy_beside
from gantrain.runs.records import read_heartbeats

_BARS = "▁▂▃▄▅▆▇█"
_SPARKLINE_WIDTH = 40
_MAX_RANKS = 16
_PREFIX_ORDER = ("loss/", "quality/", "health/")
_COLOURS = {"finished": "green", "running": "cyan", "failed": "red", "diverged": "red"}


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Return the run directories among these folders, directly in them, or in their `runs/`.

    Raises UserError if there is none.
    """
    run_dirs: dict[Path, None] = {}
    for folder in folders:
        candidates = [folder, *sorted(folder.glob("*")), *sorted(folder.glob("runs/*"))]
        run_dirs |= dict.fromkeys(path for path in candidates if _is_run(path))
    if not run_dirs:
        names = ", ".join(map(str, folders))
        raise UserError(f"{names}: no run directory; expected one, or a folder of them.")
    return list(run_dirs)


def render_runs(run_dirs: Sequence[Path], curves: int) -> RenderableType:
    """Return a panel for each run in its present state. curves: number of curves per run."""
    panels: list[RenderableType] = []
    for run_dir in run_dirs:
        run = read_run(run_dir)
        state = "silent" if run.overview.silence else run.overview.state
        colour = _COLOURS.get(state, "yellow")
        panels.append(
            Panel(
                Group(
                    escape(f"{run_dir.name}  {_progress(run)}"),
                    *_status_lines(run),
                    _curve_table(run, curves),
                ),
                title=f"[{colour}]{escape(state)}[/]",
                title_align="left",
            )
        )
    return Group(*panels)


def sparkline(values: Sequence[float | None], width: int = _SPARKLINE_WIDTH) -> str:
    """Return a curve as one line of bars, ending with its newest value; "" without values."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return ""
    step = max(1.0, len(numbers) / width)
    count = min(width, len(numbers))
    picked = [numbers[min(round((i + 1) * step) - 1, len(numbers) - 1)] for i in range(count)]
    low, high = min(picked), max(picked)
    top = len(_BARS) - 1
    return "".join(
        _BARS[round((v - low) / (high - low) * top) if high > low else 0] for v in picked
    )


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (STATUS, METRICS))


def _progress(run: RunData) -> str:
    seen, total = run.status.get("images_seen", 0), run.status.get("total_images") or 0
    percent = f" ({seen / total:.0%})" if total else ""
    speed = next((v for v in reversed(run.curves.get("speed/images_per_second", [])) if v), None)
    parts = [f"{seen / 1000:,.4g} of {total / 1000:,.4g} kimg{percent}"]
    if speed:
        parts.append(f"{speed:,.0f} images/s")
        if run.status.get("state") == "running" and total > seen and not run.overview.silence:
            parts.append(f"{(total - seen) / speed / 60:,.0f} min left")
    return " · ".join(parts)


def _status_lines(run: RunData) -> list[str]:
    lines = []
    if run.status.get("reason"):
        colour = "yellow" if run.status.get("state") == "finished" else "red"
        lines.append(f"[{colour}]{escape(str(run.status['reason']))}[/]")
    if run.diagnosis is not None:
        colour = "green" if run.diagnosis.get("diagnosis") == NO_FAULT else "yellow"
        lines.append(f"[{colour}]training: {escape(str(run.diagnosis.get('reason', '')))}[/]")
    lines.append(escape(f"quality: {run.verdict.sentence}"))
    if run.overview.silence:
        lines.append(f"[yellow]{escape(run.overview.state_words)}[/]")
    heartbeats = read_heartbeats(run.run_dir)
    if len(heartbeats) > 1:
        phases = [f"{beat.get('rank')}: {beat.get('phase')}" for beat in heartbeats[:_MAX_RANKS]]
        lines.append(escape(f"ranks {', '.join(phases)}"))
    return lines


def _curve_table(run: RunData, count: int) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    names = [name for name in run.curves if not name.startswith("interval/")]
    latest = {
        name: next((v for v in reversed(run.curves[name]) if v is not None), math.nan)
        for name in run.curves
    }
    for name in sorted(names, key=_prefix_rank)[:count]:
        values = run.curves[name]
        points = zip(reversed(values), reversed(run.images), strict=True)
        newest = next(((value, seen) for value, seen in points if value is not None), None)
        if newest is not None:
            value, seen = newest
            age = "" if seen == run.images[-1] else f"at {seen / 1000:,.4g} kimg"
            low, high = (latest.get(end, math.nan) for end in interval_names(name))
            interval = f"{low:.3g}…{high:.3g}" if math.isfinite(high - low) else ""
            shown = f"{value:.4g}{accuracy_beside(name, latest)}"
            table.add_row(escape(name), sparkline(values), shown, interval, age)
    return table


def _prefix_rank(name: str) -> int:
    prefixes = enumerate(_PREFIX_ORDER)
    return next((i for i, prefix in prefixes if name.startswith(prefix)), len(_PREFIX_ORDER))
