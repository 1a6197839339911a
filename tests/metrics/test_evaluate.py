"""`gantrain evaluate` and `gantrain data features`, as people type them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gantrain.cli.main import app
from gantrain.common.errors import UserError
from gantrain.metrics import classifier
from tests.conftest import small_tree
from tests.launching import Train, write_config


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_runs_stand_side_by_side_with_held_out_images_as_the_floor(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "_FEWEST", 1000)
    monkeypatch.setattr(classifier, "_MOST", 1000)
    runs = [tmp_path / "first", tmp_path / "second"]
    for folder in runs:
        tree = small_tree(shards, folder, data={"held_out": 0.25})
        tree["seed"] = len(folder.name)
        assert train(write_config(tmp_path / "config.yaml", tree)).returncode == 0
    learnt = run("data", "features", shards, "--cache-dir", tmp_path / "scratch")
    assert learnt.exit_code == 0, learnt.output
    assert "a classifier of the set's 5 parts" in learnt.stdout
    done = run("evaluate", *runs, runs[0] / "generator.safetensors", "--samples", 50, "--json")
    assert done.exit_code == 0, done.exception
    first, second, exported = (json.loads(line) for line in done.stdout.splitlines())
    assert first["run"] == str(runs[0])
    assert first["quality/fid_brick"] != second["quality/fid_brick"]
    # The file holds the same EMA generator as the last checkpoint.
    assert {**exported, "run": ""} == {**first, "run": ""}
    assert first["held_out"]["quality/fid_brick"] < first["quality/fid_brick"]
    table = run("evaluate", runs[0], "--samples", 50, "--features", "random")
    assert "fid_random" in table.stdout
    assert "held-out" in table.stdout
    assert "know nothing of parts" in table.stdout


def test_what_cannot_be_evaluated_is_named(shards: Path, tmp_path: Path) -> None:
    nothing = run("evaluate", tmp_path)
    assert isinstance(nothing.exception, UserError)
    assert "no checkpoint" in str(nothing.exception)
    missing = run("data", "features", tmp_path / "nowhere")
    assert isinstance(missing.exception, UserError)
    assert "no such folder" in str(missing.exception)
