"""Names with square brackets, which rich would take for markup, stand in every output."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from gantrain.cli import directions, evaluate
from gantrain.cli.printing import print_rows
from gantrain.metrics.evaluate import Evaluation
from gantrain.metrics.measure import Measurement
from gantrain.report.watch import render_runs
from gantrain.runs.progress import ProgressLine
from gantrain.runs.standing import Standing
from launch.tables import print_table

NAME = "runs/a [b] [/red] [bold]x[/]"


def test_tables_show_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    measured = Measurement({"quality/swd": 0.5}, {"quality/swd": (0.4, 0.6)})
    result = Evaluation(measured, Measurement(), measured, "[1]", [NAME])
    evaluate._print([(NAME, "data", result)])
    direction: Any = SimpleNamespace(name=NAME, kind="is", score=0.9)
    directions._print_directions([direction])
    print_rows(Console(width=120), NAME, ("[a]", "b"), [(NAME, "[c]")])
    print_table([NAME, "run"], [[NAME, "[d]"]], NAME)
    printed = capsys.readouterr().out
    assert printed.count(NAME) == 8
    assert all(text in printed for text in ("[1]", "[a]", "[c]", "[d]"))


def test_progress_line_shows_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine(1000, 0, shown=True)
    line.update(500, 10.0, {}, Standing("[b]"))
    line.print(f"{NAME}: done")
    printed = capsys.readouterr().err
    assert "training: [b]" in printed
    assert NAME in printed


def test_watch_shows_brackets(tmp_path: Path) -> None:
    run = tmp_path / "a [b] [red]"
    run.mkdir()
    status = {"state": "failed", "images_seen": 1, "total_images": 2, "reason": f"no {NAME}"}
    (run / "status.json").write_text(json.dumps(status))
    (run / "metrics.jsonl").write_text(json.dumps({"images_seen": 1, "loss/[x]": 0.5}) + "\n")
    console = Console(file=io.StringIO(), width=120)
    console.print(render_runs([run], curves=8))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert run.name in printed
    assert f"no {NAME}" in printed
    assert "loss/[x]" in printed
