"""`gantrain evaluate` and `gantrain data features` on the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gantrain.cli.main import app
from gantrain.common.errors import UserError
from gantrain.runs.generator_file import read_generator, write_generator
from tests.conftest import small_tree
from tests.launching import Train, write_config


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.usefixtures("short_classifier_training")
def test_runs_are_compared_with_each_other_and_with_held_out_images(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
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
    evaluated = invoke("evaluate", *sources, "--samples", 50, "--features", "random", "--json")
    assert evaluated.exit_code == 0, evaluated.exception
    first, second, exported = (json.loads(line) for line in evaluated.stdout.splitlines())
    assert first["run"] == str(runs[0])
    assert first["quality/kid_random"] != second["quality/kid_random"]
    # The exported file contains the EMA generator of the last checkpoint.
    assert {**exported, "run": ""} == {**first, "run": ""}
    for real in ("held_out", "floor"):
        assert first[real]["quality/kid_random"] < first["quality/kid_random"]
    for scores, intervals in (
        (first, first["intervals"]),
        (first["held_out"], first["held_out_intervals"]),
        (first["floor"], first["floor_intervals"]),
    ):
        assert "quality/kid_random" in intervals
        for name, (low, high) in intervals.items():
            assert low <= scores[name] <= high, name
    assert "quality/kid_random" not in first["like_floor"]
    assert any(line.startswith("not measured: fid_random: 256 ") for line in first["notices"])
    monkeypatch.setenv("COLUMNS", "80")
    table = invoke("evaluate", *runs, "--samples", 50, "--features", "random").stdout
    assert all(len(line) <= 80 for line in table.splitlines() if "─" in line or "kid" in line)
    for words in ("kid_random ↓", "held-out", "floor", "95% interval", "not measured: fid_random"):
        assert words in table
    assert f"1: {runs[0]} at 0.16 kimg: features of an untrained network" in table


@pytest.mark.usefixtures("short_classifier_training")
def test_conditional_generators_are_measured_by_class_beside_others(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    runs = [tmp_path / "plain", tmp_path / "conditional"]
    for folder, kind in zip(runs, ("none", "concat"), strict=True):
        tree = small_tree(shards, folder, conditioning={"kind": kind})
        tree["training"]["total_kimg"] = 0.032
        assert train(write_config(tmp_path / "config.yaml", tree)).returncode == 0
    options = ("--samples", 50, "--features", "random")
    lines = invoke("evaluate", *runs, *options, "--json").stdout.splitlines()
    plain, conditional = map(json.loads, lines)
    assert "classes" not in plain
    assert "quality/class_diversity" not in plain
    reason = "class_accuracy, class_diversity: the generator makes images without a class"
    assert any(reason in line for line in plain["notices"])
    assert 0 <= conditional["quality/class_diversity"] <= 1
    assert conditional["floor"]["quality/class_diversity"] > 0.7
    assert sum(each["images"] for each in conditional["classes"].values()) == 50
    assert any("class_accuracy: there is no classifier" in x for x in conditional["notices"])
    # A plain generator has the same metrics alone as beside a conditional one.
    (alone,) = invoke("evaluate", runs[0], *options, "--json").stdout.splitlines()
    names = [name for name in json.loads(alone) if name.startswith("quality/")]
    assert {n: json.loads(alone)[n] for n in names} == {n: plain[n] for n in names}
    table = invoke("evaluate", *runs, *options).stdout
    assert "class_diversity" in table
    assert "2: classes:" in table
    assert "class_diversity" not in invoke("evaluate", runs[0], *options).stdout


def test_a_generator_of_nan_is_an_error_of_one_line(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    config = write_config(tmp_path / "config.yaml", small_tree(shards, run))
    assert train(config, "training.total_kimg=0.032").returncode == 0
    content = read_generator(run / "generator.safetensors")
    tensors = {name: tensor * float("nan") for name, tensor in content.tensors.items()}
    broken = tmp_path / "broken.safetensors"
    write_generator(broken, tensors, content.config, {}, 32, None)
    for command in (["evaluate", "--samples", 16], ["sample", "--out", tmp_path / "x.png"]):
        failed = invoke(command[0], broken, *command[1:])
        assert isinstance(failed.exception, UserError)
        assert "makes images with pixels that are NaN or infinite" in str(failed.exception)
        assert "\n" not in str(failed.exception)
    assert not (tmp_path / "x.png").exists()


def test_a_missing_run_and_a_missing_data_set_are_clear_errors(tmp_path: Path) -> None:
    no_run = invoke("evaluate", tmp_path)
    assert isinstance(no_run.exception, UserError)
    assert "no checkpoint" in str(no_run.exception)
    no_data = invoke("data", "features", tmp_path / "nowhere")
    assert isinstance(no_data.exception, UserError)
    assert "no such folder" in str(no_data.exception)
