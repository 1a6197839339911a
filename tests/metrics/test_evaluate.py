"""`gantrain evaluate` and `gantrain data features` on the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gantrain.cli.main import app
from gantrain.common.errors import UserError
from tests.conftest import small_tree
from tests.launching import Train, write_config


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.usefixtures("short_classifier_training")
def test_runs_are_compared_with_each_other_and_with_held_out_images(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    runs = [tmp_path / "first", tmp_path / "second"]
    for folder in runs:
        tree = small_tree(shards, folder, data={"held_out": 0.25})
        tree["seed"] = len(folder.name)
        assert train(write_config(tmp_path / "config.yaml", tree)).returncode == 0
    trained = invoke("data", "features", shards, "--cache-dir", tmp_path / "scratch")
    assert trained.exit_code == 0, trained.output
    assert "a classifier of the data set's 5 classes" in trained.stdout
    sources = [*runs, runs[0] / "generator.safetensors"]
    evaluated = invoke("evaluate", *sources, "--samples", 50, "--json")
    assert evaluated.exit_code == 0, evaluated.exception
    first, second, exported = (json.loads(line) for line in evaluated.stdout.splitlines())
    assert first["run"] == str(runs[0])
    assert first["quality/fid_lite0"] != second["quality/fid_lite0"]
    # The exported file contains the EMA generator of the last checkpoint.
    assert {**exported, "run": ""} == {**first, "run": ""}
    assert first["held_out"]["quality/fid_lite0"] < first["quality/fid_lite0"]
    table = invoke("evaluate", runs[0], "--samples", 50, "--features", "random")
    assert "fid_random" in table.stdout
    assert "held-out" in table.stdout
    assert "do not distinguish classes" in table.stdout


def test_a_missing_run_and_a_missing_data_set_are_clear_errors(tmp_path: Path) -> None:
    no_run = invoke("evaluate", tmp_path)
    assert isinstance(no_run.exception, UserError)
    assert "no checkpoint" in str(no_run.exception)
    no_data = invoke("data", "features", tmp_path / "nowhere")
    assert isinstance(no_data.exception, UserError)
    assert "no such folder" in str(no_data.exception)
