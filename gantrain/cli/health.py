"""`gantrain health`: diagnoses and verdict on a run's metrics, or on the log of another tool."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gantrain.cli.printing import print_line, print_rows
from gantrain.common.errors import UserError, os_reason
from gantrain.common.records import flatten, is_number
from gantrain.common.text import counted
from gantrain.common.yaml_core import load_yaml
from gantrain.config.objectives import sections_by_kind
from gantrain.health.columns import columns_text, parse_mapping
from gantrain.health.known import UNKNOWN, Known
from gantrain.health.problems import CODES, words_for
from gantrain.health.replay import Line, Replay, lines_of, replay
from gantrain.health.tables import read_table
from gantrain.health.trend import place
from gantrain.health.verdict import Floor, Verdict, judge, recorded_floor
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.paths import CONFIG, METRICS
from gantrain.runs.records import read_events

_BATCH_SIZE = 64  # of a log that does not say it


@dataclass(frozen=True)
class _Steps:
    """Images of a generator step, and of a `step` in a table; None if they are not known."""

    per_g_step: int
    per_step: float | None


@dataclass(frozen=True)
class _Log:
    """What a file says: the objective, "" if it does not say it; its lines; its quality.

    rewound: how many times it returns to an earlier point.
    known: what the run's config says beside.
    """

    kind: str
    lines: Sequence[Line]
    verdict: Verdict
    rewound: int = 0
    known: Known = UNKNOWN


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
        typer.Option(
            metavar="NAME=COLUMN",
            help="Read a column under this name: fid=FID50k. step=row: number the rows.",
        ),
    ] = None,
    columns: Annotated[
        bool, typer.Option("--columns", help="Print the columns that are understood and exit.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per file.")
    ] = False,
) -> None:
    """Replay the metrics of runs; print what is said of their training and of their quality.

    Besides runs of gantrain it reads CSV tables and JSON with columns for the progress and for
    losses or quality, such as StyleGAN's stats.jsonl and metric-fid50k_full.jsonl, or exports of
    W&B. Of those the distance from the data is not known, but the trend is.
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
        batch = batch_size or config.get("training.batch_size")
        d_steps = int(n_critic or config.get("objective.n_critic") or 1)
        per_g_step = int(batch or _BATCH_SIZE) * d_steps
        steps = _Steps(per_g_step, images_per_step or (per_g_step if batch else None))
        own = _metrics_file(path)
        if own is not None and not mapping:
            log = _read_own(own, config, steps)
        else:
            log = _read_other(own or path, steps, mapping)
        found = replay(objective or log.kind, log.lines, known=log.known)
        if as_json:
            typer.echo(json.dumps(_as_record(path, log, found)))
        else:
            _print(console, path, log, found)


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
    counts = ("training.batch_size", "objective.n_critic", "data.limit")
    words = ("objective.kind", "output.keep_best")
    return {
        key: value
        for key, value in flat.items()
        if (key in counts and isinstance(value, int) and value > 0)
        or (key in words and isinstance(value, str))
        or key == "metrics.every_kimg"
        or (key == "objective.label_flips" and is_number(value))
        or (key == "discriminator.spectral_norm" and isinstance(value, bool))
    }


def _read_own(path: Path, config: Mapping[str, Any], steps: _Steps) -> _Log:
    """Read the metrics of a run of gantrain."""
    metrics = read_metrics(path.parent)
    lines = list(lines_of(metrics, steps.per_g_step))
    if not lines:
        raise UserError(f"{path}: no line of metrics; expected those of a run of gantrain.")
    names = {name for _, _, line in lines for name in line}
    # Logits are those of several objectives, whose losses have other scales.
    kind = config.get("objective.kind", "wgan-gp" if "loss/wasserstein" in names else "")
    verdict = judge(
        metrics,
        recorded_floor(read_events(path.parent)),
        config.get("output.keep_best"),
        measures=config.get("metrics.every_kimg") != 0,
    )
    known = Known(
        label_flips=config.get("objective.label_flips"),
        spectral_norm=config.get("discriminator.spectral_norm"),
        images=config.get("data.limit"),
    )
    return _Log(kind, lines, verdict, known=known)


def _read_other(path: Path, steps: _Steps, mapping: Mapping[str, str]) -> _Log:
    """Read the table of another tool."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(
            f"{path}: not a text file; expected {METRICS}, a CSV table or JSON lines."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: {os_reason(error)}; expected a file of metrics.") from None
    lines: list[Line] = []
    table = read_table(text, str(path), mapping)
    for row in table.rows:
        images = row.images_seen
        if images is None and steps.per_step is not None:
            images = round((row.step or 0) * steps.per_step)
        g_steps = (row.step or 0) if images is None else images // steps.per_g_step
        if row.images_seen is not None and row.step is not None:
            g_steps = row.step
        lines.append((g_steps, images, row.metrics))
    measured = [
        {**metrics, **({"step": step} if images is None else {"images_seen": images})}
        for step, images, metrics in lines
    ]
    verdict = judge(measured, Floor(), sparse=True)
    if not verdict.metric:
        verdict = replace(verdict, reason="no column of FID or another quality is understood")
    return _Log("", lines, verdict, table.rewound)


def _print(console: Console, path: Path, log: _Log, found: Replay) -> None:
    names = ", ".join(found.problems) or "no problem seen"
    print_line(console, f"{path}: {counted(found.lines, 'line')}; {names}")
    if log.rewound:
        times = counted(log.rewound, "time")
        print_line(console, f"  goes back {times}; what it repeats does not count")
    print_line(console, f"  training: {words_for(found.final)}")
    print_line(console, f"  quality: {log.verdict.sentence}")
    rows = [
        (
            place(change.images_seen, change.g_steps),
            words_for(change.diagnosis.name),
            change.diagnosis.evidence,
        )
        for change in found.changes
    ]
    print_rows(console, "diagnoses", ("at", "diagnosis", "evidence"), rows)
    advice = {x.diagnosis.name: x.diagnosis.advice for x in found.changes if x.diagnosis.advice}
    for name, text in advice.items():
        print_line(console, f"  {name}: {text}")


def _as_record(path: Path, log: _Log, found: Replay) -> dict[str, Any]:
    return {
        "metrics": str(path),
        "lines": found.lines,
        "training": words_for(found.final),
        "quality": log.verdict.to_record(),
        "rewound": log.rewound,
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
