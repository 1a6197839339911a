"""`gantrain show` of runs that train, are silent, have ended, or are of an older version."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gantrain.cli.main import app
from gantrain.common.errors import UserError

OLD = Path(__file__).parents[1] / "data" / "v0.1" / "run"


def shown(*words: object) -> str:
    result = CliRunner().invoke(app, ["show", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_run_shows_state_verdict_origin_and_files(conditional_run: Path) -> None:
    text = shown(conditional_run)
    for line in (
        f"run: {conditional_run}",
        "state: finished",
        "quality: not measured (metrics.every_kimg is 0)",
        "checkpoints: at 0.16 kimg",
        f"next: gantrain report {conditional_run}",
    ):
        assert f"{line}\n" in text
    for name in ("command", "folder", "code", "versions", "hardware", "ranks", "metrics"):
        assert f"\n{name}: " in text
    (checkpoint,) = (conditional_run / "checkpoints").glob("images-*")
    for inside in (checkpoint, conditional_run / "generator.safetensors"):
        assert shown(inside) == text


def test_json_has_the_same(conditional_run: Path) -> None:
    content = json.loads(shown(conditional_run, "--json"))
    assert content["state"] == "finished"
    assert content["verdict"]["level"] == "not measured"
    assert content["checkpoints"] == [160]
    (attempt,) = content["attempts"]
    assert attempt["images_seen"] == 160
    assert content["wall_seconds"] == pytest.approx(attempt["end"] - attempt["start"])


def test_a_run_of_version_0_1_says_what_is_not_known() -> None:
    text = shown(OLD)
    assert "state: finished\n" in text
    assert "quality: far from the data, flat (FID 832" in text
    assert "origin: not recorded: command, code, versions, hardware and times" in text
    assert json.loads(shown(OLD, "--json"))["attempts"] is None


def test_a_silent_run_is_not_called_running(conditional_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(conditional_run, run)
    status = json.loads((run / "status.json").read_text())
    state = {**status, "state": "running", "images_seen": 80, "images_per_second": 0.1}
    (run / "status.json").write_text(json.dumps(state))
    for age, words in ((10, "running, 13 min left"), (10800, "silent for 3 h, probably dead: ")):
        for path in (run / "status.json", *(run / "ranks").iterdir()):
            os.utime(path, (time.time() - age, time.time() - age))
        text = shown(run)
        assert f"state: {words}" in text
    assert "state: silent for 3 h, probably dead: start it again with `" in text
    assert json.loads(shown(run, "--json"))["seconds_left"] is None


def test_a_folder_of_runs_is_an_error_that_names_one(conditional_run: Path) -> None:
    result = CliRunner().invoke(app, ["show", str(conditional_run.parent)])
    assert isinstance(result.exception, UserError)
    assert f"a folder of 1 run; show one of them, such as {conditional_run}" in str(
        result.exception
    )
