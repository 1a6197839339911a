"""Sweeps written by version 0.1, which had training.accumulate, data.parts and lanes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gantrain.config import Config
from gantrain.config.schema import RENAMED_KEYS
from launch import ledger
from launch.__main__ import app
from launch.cluster import Cluster, load_cluster
from launch.plan import PlannedRun, plan_run, plan_runs, rename_old_flat_keys
from launch.settings import settings_from_directory
from launch.sweepdir import read_runs, read_settings
from launch.sweepfile import load_sweep

ROOT = Path(__file__).parents[2]
OLD = ROOT / "tests" / "data" / "v0.1"
# Without the sweep quickstart.yaml, whose base has had other settings since.
SHIPPED_IDS: dict[str, list[str]] = json.loads((OLD / "sweep-ids.json").read_text())


@pytest.fixture
def old_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old sweep and its sweep file, as the working directory."""
    shutil.copytree(OLD / "sweep", tmp_path / "sweep")
    for name in ("sweep.yaml", "run.yaml"):
        shutil.copy(OLD / name, tmp_path)
    shutil.copytree(ROOT / "configs" / "clusters", tmp_path / "configs" / "clusters")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def use_current_keys(folder: Path) -> None:
    """Rewrite the sweep file and its base config with the present names of all keys."""
    text = (folder / "sweep.yaml").read_text()
    assert "training.accumulate" in text
    (folder / "sweep.yaml").write_text(
        text.replace("training.accumulate", "training.grad_accum_steps")
    )
    base = yaml.safe_load((folder / "run.yaml").read_text())
    base["data"]["classes"] = base["data"].pop("parts")
    (folder / "run.yaml").write_text(yaml.safe_dump(base))


def run_json(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def planned(path: Path) -> list[PlannedRun]:
    return plan_runs(load_sweep(path), path, 1)


# Keys that are not part of ids, and whose default has changed since.
CHANGED_DEFAULTS = {"output.keep_best_is"}


def stored_ids() -> list[str]:
    lines = (OLD / "sweep" / "runs.jsonl").read_text().splitlines()
    return [json.loads(line)["id"] for line in lines]


@pytest.mark.parametrize("name", SHIPPED_IDS)
def test_shipped_sweeps_have_the_ids_of_version_0_1(name: str) -> None:
    runs = planned(ROOT / "configs" / "sweeps" / name)
    assert [run.id for run in runs] == SHIPPED_IDS[name]


@pytest.mark.parametrize("current", [False, True], ids=["old names", "current names"])
def test_sweep_file_plans_the_stored_ids(old_sweep: Path, current: bool) -> None:
    if current:
        use_current_keys(old_sweep)
    runs = planned(old_sweep / "sweep.yaml")
    assert [run.id for run in runs] == stored_ids()
    assert sorted(run.flat["training.grad_accum_steps"] for run in runs) == [1, 1, 2, 2]
    # What is stored now and what was stored then differ in new keys at most.
    for run, stored in zip(runs, read_runs(old_sweep / "sweep"), strict=True):
        shared = (run.flat.keys() & stored.flat.keys()) - CHANGED_DEFAULTS
        assert set(RENAMED_KEYS.values()) <= shared
        assert {key: run.flat[key] for key in shared} == {key: stored.flat[key] for key in shared}


@pytest.mark.parametrize("current", [False, True], ids=["old names", "current names"])
def test_commands_read_a_sweep_of_version_0_1(old_sweep: Path, current: bool) -> None:
    if current:
        use_current_keys(old_sweep)
    for target in ("sweep", "sweep.yaml"):
        rows = run_json("status", target)["runs"]
        assert [row["run"] for row in rows] == stored_ids()
        assert {row["state"] for row in rows} == {"finished"}
        assert set(rows[0]["differences"]) == {
            "training.grad_accum_steps",
            "generator.learning_rate",
        }
    board = run_json("leaderboard", "sweep.yaml")
    assert len(board["rows"]) == 4
    assert {effect["key"] for effect in board["effects"]} == set(rows[0]["differences"])
    plan = run_json("plan", "sweep.yaml")
    assert plan["missing"] == 0
    assert {row["state"] for row in plan["runs"]} == {"finished"}
    assert CliRunner().invoke(app, ["report", "sweep"]).exit_code == 0


def test_retry_submits_an_old_run_with_current_keys(
    old_sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stored_ids()[2]
    folder = old_sweep / "sweep" / "runs" / run
    (folder / "status.json").unlink()
    text = (folder / "attempts.jsonl").read_text()
    (folder / "attempts.jsonl").write_text(text.replace('"finished"', '"failed"'))
    monkeypatch.setattr("launch.local_job.start", lambda *_, **__: "1")
    assert run_json("retry", "sweep")["submitted"] == [run]
    config = yaml.safe_load((old_sweep / "sweep" / "configs" / f"{run}.yaml").read_text())
    assert config["training"]["grad_accum_steps"] == 2
    assert "accumulate" not in config["training"]
    assert Config.model_validate(config).data.classes == ("part0", "part1", "part2", "part3")


def test_old_ledger_and_settings_are_read() -> None:
    (submission,) = ledger.read_ledger(OLD / "sweep")
    assert [pack for task in submission.tasks for pack in task] == [[run] for run in stored_ids()]
    assert read_settings(OLD / "sweep")["cluster"]["lanes"] == 1
    settings = settings_from_directory(OLD / "sweep", None, ["lanes=3"])
    assert settings.cluster.workers == 3


def test_lanes_is_read_as_workers(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("executor: local\nlanes: 2\n")
    assert load_cluster(str(path), {}).workers == 2
    assert load_cluster(str(path), {"workers": 3}).workers == 3
    assert "lanes" not in Cluster(executor="local").model_dump()


def test_old_names_in_every_part_of_a_sweep_file(tmp_path: Path) -> None:
    shutil.copy(OLD / "run.yaml", tmp_path / "base.yaml")
    path = tmp_path / "sweep.yaml"

    def ids(accumulate: str, parts: str) -> list[str]:
        content = {
            "name": "s",
            "base": "base.yaml",
            "set": {parts: ["part0"]},
            "grid": {accumulate: [1, 2, 4]},
            "exclude": [{accumulate: [4]}],
            "include": [{accumulate: 8}],
        }
        path.write_text(yaml.safe_dump(content))
        return [run.id for run in planned(path)]

    old = ids("training.accumulate", "data.parts")
    assert len(old) == 3
    assert ids("training.grad_accum_steps", "data.classes") == old


def test_flat_configs_keep_their_other_keys() -> None:
    flat = {"training.accumulate": 2, "data.parts": [], "seed": 1}
    assert rename_old_flat_keys(flat) == {
        "training.grad_accum_steps": 2,
        "data.classes": [],
        "seed": 1,
    }


def test_the_id_of_auto_is_that_of_bf16_which_the_shipped_configs_had() -> None:
    ids = {
        precision: plan_run(
            ROOT / "configs" / "dcgan.yaml", [f"training.mixed_precision={precision}"], 1
        ).id
        for precision in ("auto", "bf16", "no")
    }
    assert ids["auto"] == ids["bf16"] != ids["no"]
