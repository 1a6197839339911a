"""The terminal view of runs, and the W&B workspace."""

import json
import os
import re
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gantrain.cli.main import app
from gantrain.common.errors import UserError
from gantrain.report.wandb_workspace import SECTIONS, build_workspace
from gantrain.report.watch import find_runs, sparkline
from tests.report.test_sweep_page import write_sweep


def _write_run(folder: Path, **status: object) -> Path:
    folder.mkdir(parents=True)
    lines = [
        {"images_seen": 1000 * i, "loss/generator": float(i), "speed/images_per_second": 50.0}
        for i in range(1, 9)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    event = {"event": "diagnosis", "diagnosis": "mode collapse", "reason": "mode collapse: [alike]"}
    (folder / "events.jsonl").write_text(json.dumps(event) + "\n")
    base = {"state": "running", "images_seen": 8000, "total_images": 20000, "time": 1.0}
    (folder / "status.json").write_text(json.dumps({**base, **status}))
    return folder


def test_watch_shows_status_health_and_curves(tmp_path: Path) -> None:
    os.utime(_write_run(tmp_path / "a") / "status.json", (1, 1))
    _write_run(tmp_path / "b", state="failed", reason="the disk is full")
    result = CliRunner().invoke(app, ["watch", str(tmp_path), "--once"])
    assert result.exit_code == 0, result.output
    for text in (
        *("8 of 20 kimg (40%)", "50 images/s", "silent for", "probably dead"),
        *("mode collapse: [alike]", "the disk is full", "▁▂▃▄▅▆▇█"),
    ):
        assert text in result.output


def test_watch_shows_no_accuracies_of_a_critic(tmp_path: Path) -> None:
    folder = _write_run(tmp_path / "a")
    line = {"images_seen": 1, "health/d_accuracy_real": 0.003}
    for more, shown in (({}, True), ({"loss/wasserstein": 9.0}, False)):
        (folder / "metrics.jsonl").write_text(json.dumps(line | more))
        result = CliRunner().invoke(app, ["watch", str(folder), "--once"])
        assert ("d_accuracy_real" in result.output) == shown


def test_watch_shows_a_run_without_metrics(tmp_path: Path) -> None:
    folder = _write_run(tmp_path / "a")
    (folder / "metrics.jsonl").write_text("")
    assert CliRunner().invoke(app, ["watch", str(folder), "--once"]).exit_code == 0


def test_watch_finds_the_runs_of_a_sweep(tmp_path: Path) -> None:
    run = _write_run(tmp_path / "sweep" / "runs" / "abc")
    assert find_runs([tmp_path / "sweep"]) == [run]
    with pytest.raises(UserError, match="no run directory"):
        find_runs([tmp_path / "elsewhere"])


def test_watch_shows_a_line_for_each_run_of_a_sweep(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "rates", runs=6, grids=0)
    result = CliRunner().invoke(
        app, ["watch", str(folder), "--once"], env={"COLUMNS": "150", "TERM": "dumb"}
    )
    assert result.exit_code == 0, result.output
    heading, *rows = result.output.splitlines()
    assert "6 runs: 4 finished, 1 stopped, 1 planned" in heading
    assert "quality/fid_lite0, lower is better" in heading
    assert len(rows) == 7
    assert "█" in result.output
    newest = [
        json.loads(line)["quality/fid_lite0"]
        for line in (folder / "runs" / f"{5:012x}" / "metrics.jsonl").open()
        if "quality/fid_lite0" in line
    ][-1]
    row = next(row for row in rows if row.startswith(f"{5:012x}"))
    assert f"{newest:.4g}" in row
    assert "6/6k" in row


def test_watch_takes_the_file_of_a_sweep(tmp_path: Path) -> None:
    write_sweep(tmp_path / "rates", runs=2, grids=0)
    file = tmp_path / "rates.yaml"
    sweep = {"name": "rates", "base": "base.yaml", "dir": str(tmp_path / "rates")}
    file.write_text(json.dumps({**sweep, "grid": {"seed": [0, 1]}}))
    result = CliRunner().invoke(app, ["watch", str(file), "--once"])
    assert result.exit_code == 0, result.output
    assert "2 runs" in result.output
    file.write_text(json.dumps({**sweep, "dir": str(tmp_path / "nowhere")}))
    result = CliRunner().invoke(app, ["watch", str(file), "--once"])
    assert isinstance(result.exception, UserError)
    assert "no sweep was launched here" in str(result.exception)


def test_a_sparkline_ends_with_the_newest_value() -> None:
    assert sparkline([0.0] * 99 + [1.0], 10)[-1] == "█"
    assert len(sparkline([float(i) for i in range(1000)], 40)) == 40
    assert sparkline([None, None]) == ""


def test_the_workspace_has_a_chart_for_every_important_metric() -> None:
    logged = [
        "loss/discriminator",
        "loss/wasserstein",
        "health/diagnosis",
        "quality/fid_lite0",
        "schedule/g_learning_rate",
        "schedule/d_beta2",
    ]
    charts = [chart for charts in SECTIONS.values() for chart in charts]
    for name in (*logged, "speed/images_per_second"):
        assert any(name in c.metrics or re.fullmatch(c.pattern or "-", name) for c in charts), name


def test_the_workspace_is_accepted_by_its_package() -> None:
    pytest.importorskip("wandb_workspaces")
    workspace = build_workspace("someone", "bricks")
    assert [section.name for section in workspace.sections] == list(SECTIONS)


def test_page_and_terminal_agree_that_a_run_is_silent(tmp_path: Path) -> None:
    folder = _write_run(tmp_path / "a")
    for age, silent in ((10, False), (1200, True)):
        os.utime(folder / "status.json", (time.time() - age, time.time() - age))
        shown = CliRunner().invoke(app, ["watch", str(folder), "--once"]).output
        assert CliRunner().invoke(app, ["report", str(folder)]).exit_code == 0
        page = (folder / "report.html").read_text()
        assert ("silent for 20 min" in shown) == silent
        assert ("silent for 20 min" in page) == silent
