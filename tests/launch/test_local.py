"""The launcher without Slurm: plan, sweep, status, leaderboard, cancel, retry."""

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from gantrain.runs.records import read_status
from launch.__main__ import app
from launch.dotted import apply_settings
from tests.launch.conftest import ROOT, Sweep, base_tree
from tests.other_machines import python_path
from tests.waiting import wait_until


def test_from_sweep_file_to_leaderboard(make_sweep: Callable[..., Sweep], tmp_path: Path) -> None:
    # Without Slurm, neither submitit nor what only Linux has is needed.
    hidden = python_path(tmp_path / "hidden", without=("submitit",), linux=False)
    sweep = make_sweep(
        {
            "executor": "local",
            "workers": 2,
            "setup": ["source <(echo export SITE=here)", "test $SITE"],
        },
        environment={"PYTHONPATH": f"{hidden}:{ROOT}"},
        grid={"generator.learning_rate": [1e-4, 2e-4]},
        seeds=2,
        pack=2,
    )
    planned = sweep.json("plan")
    assert [run["state"] for run in planned["runs"]] == ["planned"] * 4
    assert planned["forecast"] is None
    assert not sweep.directory.exists()  # planning writes nothing

    assert len(sweep.json("sweep")["submitted"]) == 4
    assert sweep.json("sweep")["submitted"] == []
    # The jobs use a snapshot of the code.
    (code,) = (sweep.directory / "code").iterdir()
    for name in ("gantrain/train.py", "launch/worker.py"):
        assert (code / name).read_bytes() == (ROOT / name).read_bytes()
    rows = sweep.wait("finished")
    config = json.dumps((sweep.run_dir(rows[0]["run"]) / "config.yaml").read_text())
    assert "group: sweep" in config
    assert "name: seed=0 learning_rate=0.0001" in config
    board = sweep.json("leaderboard", "--metric", "loss/generator", "--direction", "max")
    assert [len(row["runs"]) for row in board["rows"]] == [2, 2]
    assert board["rows"][0]["mean"] >= board["rows"][1]["mean"]
    again = sweep.json("plan")
    assert again["missing"] == 0
    assert again["forecast"]["source"] == "4 earlier runs"
    for command in ("plan", "status", "leaderboard", "doctor"):
        assert sweep.run(command, str(sweep.directory if command != "plan" else sweep.file)).stdout
    text = sweep.run("tail", str(sweep.file), rows[0]["run"][:6], "-n", "3").stdout
    assert "next: gantrain report" in text


def test_the_quality_of_real_runs_stands_wherever_a_sweep_is_shown(
    make_sweep: Callable[..., Sweep], squares: Path
) -> None:
    measured = {"every_kimg": 0.08, "samples": 32, "features": "random"}
    sweep = make_sweep(
        {"executor": "local"},
        base={**base_tree(squares), "metrics": measured},
        grid={"generator.learning_rate": [1e-4, 2e-4]},
        pack=2,
        metric="quality/kid",
    )
    sweep.run("sweep", str(sweep.file))
    rows = sweep.wait("finished")
    for row in rows:
        status = read_status(sweep.run_dir(row["run"]))
        said = [status[name] for name in ("training", "quality", "quality_evidence")]
        assert [row[name] for name in ("training", "quality", "quality_evidence")] == said
        assert row["quality"].startswith("far from the data, ")
        assert row["quality_evidence"].startswith("KID ")
    board = sweep.json("leaderboard")["rows"]
    assert {row["quality"] for row in board} == {"far from the data"}
    assert all(f"far from the data, {row['trend']}" in str(rows) for row in board)
    assert "far from the data" in sweep.run("status", str(sweep.file)).stdout
    assert "trend" in sweep.run("leaderboard", str(sweep.file)).stdout
    sweep.run("report", str(sweep.file))
    page = (sweep.directory / "report.html").read_text(encoding="utf-8")
    for row in rows:
        assert json.dumps(row["quality_evidence"])[1:-1] in page


def test_a_failing_set_up_ends_a_local_job_with_its_message(
    make_sweep: Callable[..., Sweep],
) -> None:
    sweep = make_sweep({"executor": "local", "setup": ["ls /nonexistent"]})
    sweep.run("sweep", str(sweep.file))
    (row,) = sweep.wait("failed", "vanished")
    assert not sweep.run_dir(row["run"]).joinpath("attempts.jsonl").exists()
    assert "launch: set-up failed with status 2 at: ls /nonexistent" in sweep.logs()
    (diagnosis,) = sweep.json("doctor")["diagnoses"]
    assert "set-up failed" in json.dumps(diagnosis)


def test_cancel_and_retry(make_sweep: Callable[..., Sweep], squares: Path) -> None:
    sweep = make_sweep(base=base_tree(squares, kimg=500), seeds=2)
    sweep.run("sweep", str(sweep.file))
    first, second = (row["run"] for row in sweep.runs())
    sweep.wait_images(first, 32)
    assert sweep.run("cancel", str(sweep.file), status=2).stderr.startswith("launch: cancel: name")
    sweep.run("cancel", str(sweep.file), first, second)
    wait_until(lambda: len(sweep.starts(first)) == 1 and _ended(sweep, first), 480)
    assert sweep.states() == ["cancelled", "cancelled"]
    assert not (sweep.run_dir(second) / "attempts.jsonl").exists()
    assert sweep.json("retry")["submitted"] == []
    assert sweep.json("retry", first)["submitted"] == [first]
    wait_until(lambda: len(sweep.starts(first)) == 2, 480)
    assert sweep.starts(first)[1]["images"] > 0
    sweep.run("cancel", str(sweep.file), "--all")
    wait_until(lambda: _ended(sweep, first), 480)


def test_submit_adds_runs_to_one_directory(
    make_sweep: Callable[..., Sweep], tmp_path: Path, squares: Path
) -> None:
    sweep = make_sweep()
    config = tmp_path / "one.json"
    config.write_text(json.dumps(apply_settings(base_tree(squares), {"output.run_dir": "x"})))
    options = ["--cluster", str(tmp_path / "cluster.yaml"), "--dir", str(sweep.directory)]
    for seed in ("seed=1", "seed=2"):
        sweep.run("submit", str(config), seed, *options)
    rows = wait_until(
        lambda: [r for r in _rows(sweep) if r["state"] == "finished"][1:] and _rows(sweep), 90
    )
    assert [row["differences"] for row in rows] == [{"seed": 1}, {"seed": 2}]


def test_user_error_is_one_line_and_status_2(make_sweep: Callable[..., Sweep]) -> None:
    file = str(make_sweep({"executor": "local", "nodes": 2}).file)
    for arguments, message in (
        (["sweep", file], "without Slurm there is one node"),
        (["status", "nowhere"], "no sweep was launched here"),
        (["sweep", file, "-c", "unknown"], "configs/clusters/unknown.yaml"),
        (["plan", file, "-r", "tim=30"], "nearest known one is 'time'"),
        (["plan", file, "-r", "time"], "expected KEY=VALUE"),
        (["plan", file, "-r", "nodes=1", "-r", "time=1"], "no time would be left"),
        (["cancel", file], "name the runs"),
    ):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2
        assert done.stderr.startswith("launch: ")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


def _rows(sweep: Sweep) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(
        sweep.run("status", str(sweep.directory), "--json").stdout
    )["runs"]
    return rows


def _ended(sweep: Sweep, run: str) -> bool:
    lines = (sweep.run_dir(run) / "attempts.jsonl").read_text().splitlines()
    return bool(json.loads(lines[-1])["event"] == "end")
