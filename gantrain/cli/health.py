"""`gantrain health`: the diagnoses of a run's metrics, or of the log of another tool."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gantrain.cli.printing import counted, print_line, print_rows
from gantrain.common.errors import UserError, os_reason
from gantrain.common.records import flatten
from gantrain.common.yaml_core import load_yaml
from gantrain.config.objectives import sections_by_kind
from gantrain.health.problems import CODES, words_for
from gantrain.health.replay import Change, Line, Replay, lines_of, replay
from gantrain.health.tables import columns_text, parse_mapping, read_table
from gantrain.health.trend import position
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.paths import CONFIG, METRICS

_BATCH_SIZE = 64  # of a log that does not say it


@dataclass(frozen=True)
class _Steps:
    """How steps and images are related: those of a generator step, and of a `step` in a table."""

    per_g_step: int
    per_step: float


def health(
    metrics: Annotated[
        list[Path] | None,
        typer.Argument(help="Run directories, their metrics.jsonl, or tables of other tools."),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="Objective, whose losses have thresholds. Default: the run's; none for tables."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Global batch size. Default: the run's, else 64.")
    ] = None,
    n_critic: Annotated[
        int | None, typer.Option(min=1, help="D steps per G step. Default: the run's, else 1.")
    ] = None,
    images_per_step: Annotated[
        float | None,
        typer.Option(min=0.001, help="Images of a step in a table. Default: those of a G step."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN", help="Read a column under this name: fid=FID50k."),
    ] = None,
    columns: Annotated[
        bool, typer.Option("--columns", help="Print the columns that are understood and exit.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per file.")
    ] = False,
) -> None:
    """Replay the metrics of runs and print their diagnoses, with evidence and advice.

    Besides runs of gantrain it reads CSV tables and JSON lines with columns for the progress and
    for losses or quality, such as StyleGAN's stats.jsonl and metric-fid50k_full.jsonl.
    """
    if columns:
        typer.echo(columns_text())
        return
    if not metrics:
        raise UserError("METRICS: no file given; expected a run directory or a table of metrics.")
    kinds = sections_by_kind()
    if objective is not None and objective not in kinds:
        raise UserError(f"--objective is {objective!r}; expected one of {', '.join(kinds)}.")
    mapping = parse_mapping(column or [])
    console = Console()
    for path in metrics:
        config = _read_config(path)
        batch = batch_size or config.get("training.batch_size") or _BATCH_SIZE
        per_g_step = int(batch) * int(n_critic or config.get("objective.n_critic") or 1)
        steps = _Steps(per_g_step, images_per_step or per_g_step)
        own = _metrics_file(path)
        if own is not None and not mapping:
            kind, lines = _own_lines(own, steps)
            kind = objective or config.get("objective.kind") or kind
        else:
            kind, lines = objective or "", _table_lines(own or path, steps, mapping)
        _print(console, path, replay(str(kind), lines), as_json=as_json)


def _metrics_file(path: Path) -> Path | None:
    """Return metrics.jsonl if the path is a run directory or that file itself.

    Raises UserError if it is a folder without one, or nothing that can be read.
    """
    try:
        if path.is_dir():
            if not (path / METRICS).is_file():
                raise UserError(f"{path}: no {METRICS} in this folder; expected a run directory.")
            return path / METRICS
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; expected a run directory, its {METRICS} or a table."
            )
    except OSError as error:
        raise UserError(f"{path}: {os_reason(error)}; expected a file of metrics.") from None
    return path if path.name == METRICS else None


def _read_config(path: Path) -> dict[str, Any]:
    """Return the values of the run's config by dotted key; empty if there is none to be read."""
    try:
        folder = path if path.is_dir() else path.parent
        tree = load_yaml((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(tree, dict):
        return {}
    flat = flatten(tree)
    counts = ("training.batch_size", "objective.n_critic")
    return {
        key: value
        for key, value in flat.items()
        if (key in counts and isinstance(value, int) and value > 0) or key == "objective.kind"
    }


def _own_lines(path: Path, steps: _Steps) -> tuple[str, Iterator[Line]]:
    """Return the objective that the metrics show, "" if none, and their lines."""
    found = list(lines_of(read_metrics(path.parent), steps.per_g_step))
    if not found:
        raise UserError(f"{path}: no line of metrics; expected those of a run of gantrain.")
    names = {name for _, _, line in found for name in line}
    # Logits are those of several objectives, whose losses have other scales.
    return "wgan-gp" if "loss/wasserstein" in names else "", iter(found)


def _table_lines(path: Path, steps: _Steps, mapping: Mapping[str, str]) -> Iterator[Line]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(
            f"{path}: not a text file; expected {METRICS}, a CSV table or JSON lines."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: {os_reason(error)}; expected a file of metrics.") from None
    for row in read_table(text, str(path), mapping).rows:
        if row.images_seen is not None:
            g_steps = row.step if row.step is not None else row.images_seen // steps.per_g_step
            yield g_steps, row.images_seen, row.metrics
        else:
            images = round((row.step or 0) * steps.per_step)
            yield images // steps.per_g_step, images, row.metrics


def _print(console: Console, path: Path, found: Replay, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_as_record(path, found)))
        return
    names = ", ".join(found.problems) or "no problem seen"
    final = words_for(found.final)
    print_line(console, f"{path}: {counted(found.lines, 'line')}; {names}; at the end {final}")
    if found.best is not None and found.last is not None:
        print_line(
            console,
            f"  {found.metric.removeprefix('quality/')}: best {found.best.value:.4g}"
            f"{position(found.best)}, last {found.last:.4g}",
        )
    rows = [
        (_position(change), words_for(change.diagnosis.name), change.diagnosis.evidence)
        for change in found.changes
    ]
    print_rows(console, "diagnoses", ("kimg", "diagnosis", "evidence"), rows)
    advice = {x.diagnosis.name: x.diagnosis.advice for x in found.changes if x.diagnosis.advice}
    for name, text in advice.items():
        print_line(console, f"  {name}: {text}")


def _position(change: Change) -> str:
    return f"{(change.images_seen or 0) / 1000:,.4g}"


def _as_record(path: Path, found: Replay) -> dict[str, Any]:
    return {
        "metrics": str(path),
        "lines": found.lines,
        "final": found.final,
        "quality": found.metric or None,
        "best": found.best.model_dump() if found.best else None,
        "last": found.last,
        "diagnoses": [
            {
                "images_seen": change.images_seen,
                "g_steps": change.g_steps,
                "code": CODES[change.diagnosis.name],
                **change.diagnosis.model_dump(),
            }
            for change in found.changes
        ],
    }
