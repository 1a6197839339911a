"""What the commands print: tables for people, JSON for programs."""

import dataclasses
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from launch.doctor import Diagnosis
from launch.leaderboard import Board, Effect
from launch.plan import ABSENT, differences, short_names
from launch.states import RunState

_COLOURS = {
    "finished": "green",
    "running": "cyan",
    "failed": "red",
    "vanished": "red",
    "interrupted": "yellow",
    "requeued": "yellow",
    "stopped": "magenta",
}
console = Console(soft_wrap=False)


def print_json(content: object) -> None:
    """One JSON document on stdout; NaN and infinity become null."""
    print(json.dumps(_plain(content), indent=2, allow_nan=False))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """A plain table; columns of numbers stand to the right."""
    kept = [list(row) for row in rows]
    grid = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = bool(kept) and all(_is_number(row[index]) for row in kept)
        grid.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in kept:
        grid.add_row(*row)
    wide = console if console.is_terminal else Console(width=180, soft_wrap=False)
    wide.print(grid)


def status_table(runs: Sequence[RunState], keys: Sequence[str], limit: int) -> None:
    """One line a run."""
    names = short_names(keys)
    rows = []
    for run in runs[:limit]:
        colour = _COLOURS.get(run.state)
        state = f"[{colour}]{run.state}[/]" if colour else run.state
        rows.append(
            [
                run.run,
                state,
                progress(run.images, run.total),
                ago(run.heartbeat),
                run.job or "—",
                run.nodes or "—",
                *(cell(v) for v in differences(run.flat, keys).values()),
                run.reason,
            ]
        )
    columns = ["run", "state", "images", "seen", "job", "node", *names.values(), "reason"]
    table(columns, rows)
    left_out(len(runs), limit)


def board_table(board: Board, limit: int) -> None:
    """Rows by rank, then the main effects."""
    names = short_names(board.keys)
    word = "lowest" if board.direction == "min" else "highest"
    rows = [
        [
            str(place),
            f"{row.mean:.5g}",
            f"±{row.spread:.2g}" if row.spread is not None else "—",
            str(len(row.runs)),
            *(cell(row.values[key]) for key in board.keys),
            " ".join(row.runs[:4]) + (" …" if len(row.runs) > 4 else ""),
        ]
        for place, row in enumerate(board.rows[:limit], start=1)
    ]
    columns = ["#", board.metric, "seeds", "runs", *names.values(), "run"]
    table(columns, rows, f"{board.metric} at {board.images:,} images seen, {word} first")
    left_out(len(board.rows), limit)
    if board.behind:
        console.print(f"{len(board.behind)} runs have not come as far and are left out.")
    if board.effects:
        console.print()
        effects_table(board.effects, names, board.metric)


def effects_table(effects: Sequence[Effect], names: Mapping[str, str], metric: str) -> None:
    """The mean over all runs that share a value, most telling hyperparameter first."""
    rows = [
        [
            names[effect.key],
            effect.value,
            str(effect.runs),
            f"{effect.mean:.5g}",
            f"{effect.against_mean:+.3g}",
            f"{effect.best:.5g}",
        ]
        for effect in effects
    ]
    columns = ["hyperparameter", "value", "runs", f"mean {metric}", "against mean", "best"]
    table(columns, rows, "Main effects")


def doctor_table(diagnoses: Sequence[Diagnosis]) -> None:
    """A cause, its evidence and the advice for each dead run."""
    rows = [[d.run, d.job or "—", d.cause, d.evidence, d.advice] for d in diagnoses]
    table(["run", "job", "cause", "evidence", "what to do"], rows)


def counts_line(runs: Sequence[RunState]) -> str:
    """How many runs are in which state."""
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.state] = counts.get(run.state, 0) + 1
    return f"{len(runs)} runs: " + ", ".join(f"{n} {state}" for state, n in counts.items())


def left_out(count: int, limit: int) -> None:
    """Say how many rows were not shown."""
    if count > limit:
        console.print(f"… and {count - limit:,} more; --limit 0 shows all.")


def cell(value: Any) -> str:
    """A config value, short."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return "[" + ", ".join(cell(v) for v in value) + "]"
    return ABSENT if value is None else str(value)


def progress(images: int, total: int) -> str:
    """Images seen, as a share of the whole."""
    return f"{images / 1000:,.4g}/{total / 1000:,.4g}k"


def ago(moment: float | None) -> str:
    """How long ago, in its natural unit."""
    if moment is None:
        return "—"
    seconds = max(0.0, time.time() - moment)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _is_number(text: str) -> bool:
    return text == "—" or text.replace(".", "").replace("-", "").replace(",", "").isdigit()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
