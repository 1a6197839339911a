"""The terminal view of runs, and the saved view of a W&B project."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gantrain
from gantrain.cli.main import app
from gantrain.cli.workspace import SECTIONS, build_workspace
from gantrain.common.errors import UserError
from gantrain.inference import export, interpolation
from gantrain.report.watch import find_runs, sparkline


def _write(folder: Path, **status: object) -> Path:
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


def test_watch_shows_how_runs_stand(tmp_path: Path) -> None:
    _write(tmp_path / "a")
    _write(tmp_path / "b", state="failed", reason="the disk is full")
    result = CliRunner().invoke(app, ["watch", str(tmp_path), "--once"])
    assert result.exit_code == 0, result.output
    for said in (
        *("8 of 20 kimg (40%)", "50 images/s", "4 min to go", "no sign of life"),
        *("mode collapse: [alike]", "the disk is full", "▁▂▃▄▅▆▇█"),
    ):
        assert said in result.output


def test_a_run_without_metrics_yet_is_shown(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a")
    (folder / "metrics.jsonl").write_text("")
    assert CliRunner().invoke(app, ["watch", str(folder), "--once"]).exit_code == 0


def test_watch_finds_runs_of_a_sweep_and_refuses_none(tmp_path: Path) -> None:
    run = _write(tmp_path / "sweep" / "runs" / "abc")
    assert find_runs([tmp_path / "sweep"]) == [run]
    with pytest.raises(UserError, match="no run directory"):
        find_runs([tmp_path / "elsewhere"])


def test_a_sparkline_ends_with_the_newest_value() -> None:
    assert sparkline([0.0] * 99 + [1.0], 10)[-1] == "█"
    assert len(sparkline([float(i) for i in range(1000)], 40)) == 40
    assert sparkline([None, None]) == ""


def test_the_saved_view_has_a_chart_for_every_metric_that_matters() -> None:
    logged = ["loss/discriminator", "loss/wasserstein", "health/diagnosis", "quality/fid_brick"]
    charts = [chart for charts in SECTIONS.values() for chart in charts]
    for name in (*logged, "speed/images_per_second"):
        assert any(name in c.metrics or re.fullmatch(c.pattern or "-", name) for c in charts), name


def test_the_saved_view_is_what_the_package_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb_workspaces")
    view = build_workspace("someone", "bricks")
    assert [section.name for section in view.sections] == list(SECTIONS)


def test_neither_the_command_nor_the_package_waits_for_torch() -> None:
    code = "import gantrain, gantrain.cli.main, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_gives_its_tools_by_name() -> None:
    from gantrain import load_generator, slerp

    assert load_generator is export.load_generator
    assert slerp is interpolation.slerp
    assert all(getattr(gantrain, name) for name in gantrain.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gantrain.nothing
