"""Command output: tables for display, JSON for programs."""

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gantrain.common.text import counted
from launch.damage import describe
from launch.doctor import Diagnosis
from launch.leaderboard import Effect, Leaderboard, doubts_of
from launch.plan import differences, short_names
from launch.states import RunState
from launch.values import format_value

STATE_COLOURS = {
    "finished": "green",
    "running": "cyan",
    "failed": "red",
    "vanished": "red",
    "interrupted": "yellow",
    "requeued": "yellow",
    "stopped": "magenta",
    "damaged": "red",
}
_PIPE_WIDTH = 180  # columns of a table that does not go to a terminal
console = Console(soft_wrap=False)


def print_json(content: object) -> None:
    """Print one JSON document to stdout; NaN and infinity become null."""
    print(json.dumps(_to_plain(content), indent=2, allow_nan=False))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], title: str = ""
) -> None:
    """Print a plain table; columns of numbers are right-aligned. No text is taken for markup."""
    kept = [
        [cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row] for row in rows
    ]
    heading = Text(title, style="table.title") if title else None
    table = Table(title=heading, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = bool(kept) and all(_is_number(row[index].plain) for row in kept)
        justify: Literal["right", "left"] = "right" if numeric else "left"
        table.add_column(Text(printable(column)), justify=justify, overflow="fold")
    for row in kept:
        table.add_row(*row)
    wide = console if console.is_terminal else Console(width=_PIPE_WIDTH, soft_wrap=False)
    wide.print(table)


def print_status(runs: Sequence[RunState], keys: Sequence[str], limit: int) -> None:
    """Print one line per run: state, progress, job, words, the keys that differ, the reason."""
    names = short_names(keys)
    # Runs of older versions have no words.
    words = [name for name in ("training", "quality") if any(getattr(x, name) for x in runs)]
    rows: list[list[str | Text]] = []
    for run in runs[:limit]:
        state = Text(run.state, style=STATE_COLOURS.get(run.state, ""))
        rows.append(
            [
                run.run,
                state,
                format_progress(run.images, run.total),
                format_age(run.silence),
                run.job or "—",
                run.nodes or "—",
                *(getattr(run, name) or "—" for name in words),
                *(format_value(v) for v in differences(run.flat, keys).values()),
                describe(run),
            ]
        )
    columns = ["run", "state", "images", "seen", "job", "node", *words, *names.values(), "reason"]
    print_table(columns, rows)
    print_omitted(len(runs), limit)


def print_leaderboard(board: Leaderboard, limit: int) -> None:
    """Print the settings by rank, then the main effects."""
    if not board.images:
        print(f"no run has measured {board.metric} yet")
        return
    names = short_names(board.keys)
    first = "lowest" if board.direction == "min" else "highest"
    words = [name for name in ("quality", "trend") if any(getattr(x, name) for x in board.rows)]
    rows = [
        [
            str(rank),
            f"{row.mean:.5g}" + (" ≈" if row.like_first else ""),
            f"{row.interval[0]:.4g} … {row.interval[1]:.4g}" if row.interval else "—",
            f"±{row.spread:.2g}" if row.spread is not None else "—",
            str(len(row.runs)),
            *(getattr(row, name) or "—" for name in words),
            *(format_value(row.values[key]) for key in board.keys),
            " ".join(row.runs[:4]) + (" …" if len(row.runs) > 4 else ""),
        ]
        for rank, row in enumerate(board.rows[:limit], start=1)
    ]
    columns = ["#", board.metric, "95% interval", "seeds", "runs"]
    columns += [*words, *names.values(), "run"]
    print_table(columns, rows, f"{board.metric} at {board.images:,} images seen, {first} first")
    print_omitted(len(board.rows), limit)
    for line in doubts_of(board):
        print(line)
    if board.behind:
        console.print(f"{len(board.behind)} runs have seen fewer images and are left out.")
    if board.later:
        console.print(f"{len(board.later)} runs measured it only later and are left out.")
    if board.unmeasured:
        console.print(f"{len(board.unmeasured)} runs do not measure it and are left out.")
    if board.effects:
        console.print()
        _print_effects(board.effects, names, board.metric)


def print_diagnoses(diagnoses: Sequence[Diagnosis]) -> None:
    """Print the cause, the evidence and the advice for each run; runs alike are shown once.

    Lines are not wrapped, so that commands can be copied.
    """
    alike: dict[tuple[str, str, str], list[Diagnosis]] = {}
    for each in diagnoses:
        key = (each.cause, each.evidence, each.advice.replace(each.run, "RUN"))
        alike.setdefault(key, []).append(each)
    for (cause, evidence, advice), group in alike.items():
        first, runs = group[0], " ".join(each.run for each in group)
        job = f", job {first.job}" if first.job else ""
        console.print(Text(runs, style="bold"), Text(f"{cause}{job}"), sep="  ", soft_wrap=True)
        lines = [("evidence", evidence), ("Slurm", first.slurm), ("log", str(first.log or ""))]
        lines += [("", f"| {line}") for line in first.lines]
        lines.append(("damaged", "; ".join(p for p in first.damage if p != evidence)))
        lines.append(("to do", advice.replace("RUN", runs)))
        for name, text in lines:
            if text:
                print(f"  {name:<10}{printable(text)}")


def printable(text: str) -> str:
    """Return a text without characters that would move the cursor or colour the terminal."""
    clean = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in clean)


def count_states(runs: Sequence[RunState]) -> str:
    """Return a line with the number of runs in each state."""
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.state] = counts.get(run.state, 0) + 1
    return f"{counted(len(runs), 'run')}: " + ", ".join(
        f"{n} {state}" for state, n in counts.items()
    )


def print_omitted(count: int, limit: int) -> None:
    """Print how many of `count` rows a limit left out, if any."""
    if count > limit:
        console.print(f"… and {count - limit:,} more; --limit 0 shows all.")


def format_progress(images: int, total: int) -> str:
    """Return images seen and the run's length, in thousands."""
    return f"{images / 1000:,.4g}/{total / 1000:,.4g}k"


def format_age(seconds: float | None) -> str:
    """Return a time in days, hours, minutes or seconds."""
    if seconds is None:
        return "—"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _print_effects(effects: Sequence[Effect], names: Mapping[str, str], metric: str) -> None:
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
    columns = ["hyperparameter", "value", "runs", f"mean {metric}", "vs. mean", "best"]
    print_table(columns, rows, "Main effects")


def _is_number(text: str) -> bool:
    return text == "—" or text.replace(".", "").replace("-", "").replace(",", "").isdigit()


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _to_plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_to_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
