"""Runs as they stand, in the terminal: state, health, speed, curves."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from gantrain.common.errors import UserError
from gantrain.report.rundata import RunData, read_run
from gantrain.runs.heartbeat import read_heartbeats

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 40  # points of a curve
_SILENT = 60.0  # seconds, after which a running run is said to be silent
_FIRST = ("loss/", "quality/", "health/")
_COLOURS = {"finished": "green", "running": "cyan", "failed": "red", "diverged": "red"}


def watch(
    runs: Annotated[
        list[Path], typer.Argument(help="run directories, or folders of them, such as runs/")
    ],
    seconds: Annotated[float, typer.Option(min=0.2, help="between two looks")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="look once and end")] = False,
    curves: Annotated[int, typer.Option(min=0, help="curves of each run")] = 8,
) -> None:
    """Watch runs in the terminal. Ctrl-C ends it; the runs go on."""
    folders = find_runs(runs)
    if once:
        Console().print(image(folders, curves))
        return
    try:
        with Live(image(folders, curves), refresh_per_second=4, screen=False) as live:
            while True:
                time.sleep(seconds)
                live.update(image(find_runs(runs), curves))
    except KeyboardInterrupt:
        return


def find_runs(places: Sequence[Path]) -> list[Path]:
    """The run directories among these folders and just inside them (a sweep's `runs/` too).

    Raises UserError if there is none.
    """
    found: dict[Path, None] = {}
    for place in places:
        inside = [place, *sorted(place.glob("*")), *sorted(place.glob("runs/*"))]
        found |= dict.fromkeys(folder for folder in inside if _is_run(folder))
    if not found:
        named = ", ".join(map(str, places))
        raise UserError(f"{named}: no run directory; expected one, or a folder of them.")
    return list(found)


def image(folders: Sequence[Path], curves: int) -> RenderableType:
    """What there is to see of the runs now."""
    panels: list[RenderableType] = []
    for folder in folders:
        run = read_run(folder)
        head = escape(f"{folder.name}  {_standing(run)}")
        state = str(run.status.get("state", "unknown"))
        colour = _COLOURS.get(state, "yellow")
        panels.append(
            Panel(
                Group(head, *_told(run), _curves(run, curves)),
                title=f"[{colour}]{escape(state)}[/]",
                title_align="left",
            )
        )
    return Group(*panels)


def sparkline(values: Sequence[float | None], width: int = _WIDTH) -> str:
    """A curve as one line of bars, its newest point on the right; "" without a number."""
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
    return folder.is_dir() and any(
        (folder / name).is_file() for name in ("status.json", "metrics.jsonl")
    )


def _standing(run: RunData) -> str:
    seen, total = run.status.get("images_seen", 0), run.status.get("total_images") or 0
    share = f" ({seen / total:.0%})" if total else ""
    speed = next((v for v in reversed(run.curves.get("speed/images_per_second", [])) if v), None)
    parts = [f"{seen / 1000:,.4g} of {total / 1000:,.4g} kimg{share}"]
    if speed:
        parts.append(f"{speed:,.0f} images/s")
        if run.status.get("state") == "running" and total > seen:
            parts.append(f"{(total - seen) / speed / 60:,.0f} min to go")
    return " · ".join(parts)


def _told(run: RunData) -> list[str]:
    lines = []
    if run.status.get("reason"):
        lines.append(f"[red]{escape(str(run.status['reason']))}[/]")
    diagnosis = _newest(run.events, "diagnosis")
    if diagnosis is not None:
        colour = "green" if diagnosis.get("diagnosis") == "healthy" else "yellow"
        lines.append(f"[{colour}]health: {escape(str(diagnosis.get('reason', '')))}[/]")
    silent = time.time() - float(run.status.get("time", time.time()))
    if run.status.get("state") == "running" and silent > _SILENT:
        lines.append(f"[yellow]no sign of life for {silent / 60:,.0f} min[/]")
    beats = read_heartbeats(run.folder)
    if len(beats) > 1:
        phases = ", ".join(f"{beat.get('rank')}: {beat.get('phase')}" for beat in beats[:16])
        lines.append(escape(f"ranks {phases}"))
    return lines


def _newest(events: Sequence[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    return next((event for event in reversed(events) if event.get("event") == kind), None)


def _curves(run: RunData, count: int) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    names = sorted(run.curves, key=_importance)
    for name in names[:count]:
        values = run.curves[name]
        newest = next((value for value in reversed(values) if value is not None), None)
        if newest is not None:
            table.add_row(name, sparkline(values), f"{newest:.4g}")
    return table


def _importance(name: str) -> int:
    return next((i for i, prefix in enumerate(_FIRST) if name.startswith(prefix)), len(_FIRST))
