"""Sweeps on a real Slurm: arrays, throttle, ranks on several nodes, packs, halving."""

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from gantrain.common.ports import free_port
from tests.launch.conftest import ROOT, SlurmCluster, Sweep, base_tree
from tests.waiting import wait_until

pytestmark = pytest.mark.slurm


def test_grid_larger_than_an_array(
    on_slurm: Callable[..., Sweep], slurm_cluster: SlurmCluster
) -> None:
    sweep = on_slurm(
        grid={
            "generator.learning_rate": [1e-4, 2e-4, 4e-4],
            "discriminator.dropout": [0.0, 0.3],
        },
        seeds=2,
        throttle=3,
    )
    result = sweep.json("sweep")
    assert len(result["submitted"]) == 12
    assert len(result["jobs"]) == 2  # 9 and 3 tasks: the cluster's MaxArraySize is 9
    # A second launcher finds nothing to do while everything is queued or runs.
    assert sweep.json("sweep")["submitted"] == []

    most = 0

    def is_queue_empty() -> bool:
        nonlocal most
        running = slurm_cluster.call("squeue", "-h", "-r", "-t", "R,CG", "-o", "%i").split()
        most = max(most, len(running))
        return not slurm_cluster.call("squeue", "-h", "-o", "%i")

    wait_until(is_queue_empty, 300, lambda: f"{sweep.runs()}\n{sweep.logs()}", 0.3)
    rows = sweep.wait("finished")
    assert most <= 3
    assert [len(sweep.starts(row["run"])) for row in rows] == [1] * 12
    assert sweep.json("sweep")["submitted"] == []
    board = sweep.json("leaderboard")
    assert len(board["rows"]) == 6
    assert {row["images"] for row in board["rows"]} == {160}
    assert all(len(row["runs"]) == 2 and row["spread"] >= 0 for row in board["rows"])
    assert {e["key"] for e in board["effects"]} == {
        "generator.learning_rate",
        "discriminator.dropout",
    }
    assert sweep.json("doctor")["diagnoses"] == []


def test_four_ranks_on_two_nodes(
    on_slurm: Callable[..., Sweep], slurm_cluster: SlurmCluster, squares: Path
) -> None:
    sweep = on_slurm(
        {"nodes": 2, "ranks_per_node": 2, "sbatch": {"hold": True}}, base=base_tree(squares)
    )
    sweep.run("sweep", str(sweep.file))
    job = slurm_cluster.call("squeue", "-h", "-o", "%A")
    with socket.socket() as busy:
        # The port that the ranks would meet at is in use by another program.
        busy.bind(("", free_port(f"{job}/0")))
        busy.listen()
        slurm_cluster.call("scontrol", "release", job)
        row = sweep.wait("finished", "failed")[0]
    assert row["state"] == "finished", sweep.logs()
    folder = sweep.run_dir(row["run"])
    logs = [path.read_text() for path in sorted(folder.glob("logs/rank?.log"))]
    assert len(logs) == 4
    assert "4 rank(s)" in logs[0]


def test_packed_runs_are_independent(on_slurm: Callable[..., Sweep], squares: Path) -> None:
    # The third run has no images; the other runs of the job must be unaffected.
    sweep = on_slurm(
        pack=3,
        zip={"seed": [0, 1, 2], "data.shards": [str(squares), str(squares), "nowhere"]},
    )
    assert len(sweep.json("sweep")["jobs"]) == 1
    rows = sweep.wait("finished", "failed")
    assert [row["state"] for row in rows] == ["finished", "finished", "failed"]
    assert len({row["job"] for row in rows}) == 1
    (diagnosis,) = sweep.json("doctor")["diagnoses"]
    assert diagnosis["run"] == rows[2]["run"]
    assert "nowhere" in diagnosis["evidence"]
    # Only the failed run is submitted again.
    assert sweep.json("retry")["submitted"] == [rows[2]["run"]]
    sweep.wait("finished", "failed")
    assert [len(sweep.starts(row["run"])) for row in rows] == [1, 1, 2]


def test_halving_stops_the_worse_runs(on_slurm: Callable[..., Sweep], squares: Path) -> None:
    sweep = on_slurm(
        base=base_tree(squares, kimg=8),
        grid={"discriminator.learning_rate": [1e-3, 1e-4, 1e-5, 1e-7]},
        pack=4,
        early_stop={"metric": "loss/discriminator", "min_kimg": 0.4, "factor": 2},
    )
    sweep.run("sweep", str(sweep.file))
    rows = sweep.wait("finished", "stopped")
    stopped = [row for row in rows if row["state"] == "stopped"]
    assert 1 <= len(stopped) < 4
    for row in stopped:
        mark = json.loads((sweep.run_dir(row["run"]) / "early_stop.json").read_text())
        assert "loss/discriminator" in row["reason"]
        assert mark["value"] > mark["bar"]
        assert row["images"] < 8_000
    # A second launch does not submit stopped runs.
    assert sweep.json("sweep")["submitted"] == []


def test_cancel_queued_and_running(on_slurm: Callable[..., Sweep], squares: Path) -> None:
    sweep = on_slurm(base=base_tree(squares, kimg=500), seeds=3, throttle=1)
    sweep.run("sweep", str(sweep.file))
    first = sweep.runs()[0]["run"]
    sweep.wait_images(first, 32)
    sweep.run("cancel", str(sweep.file), "--all")
    assert set(sweep.states()) == {"cancelled"}
    wait_until(lambda: not sweep.json("status")["runs"][0]["slurm"].startswith("RUN"), 30)
    assert list(sweep.run_dir(first).glob("checkpoints/images-*"))
    assert sweep.json("sweep")["submitted"] == []
    assert sweep.json("retry")["submitted"] == []


def test_job_scripts_without_the_launcher(
    slurm_cluster: SlurmCluster, tmp_path: Path, squares: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(base_tree(squares)))
    (tmp_path / "settings.txt").write_text("seed=1\nseed=2\n")
    submit = ["sbatch", "--chdir", str(ROOT), "--gpus-per-node=0", "--cpus-per-task=2"]
    path = f"{Path(sys.executable).parent}:{slurm_cluster.environment['PATH']}"
    export = f"--export=ALL,PATH={path},OMP_NUM_THREADS=1,SLURM_SUBMIT_DIR={ROOT},RANKS_PER_NODE="
    two = [*submit, f"{export}2", "--nodes=2", "-o", str(tmp_path / "two.log")]
    slurm_cluster.call(
        *(*two, str(ROOT / "slurm/train.sbatch"), "--config", str(config)),
        f"output.run_dir={tmp_path / 'two'}",
    )
    grid = [*submit, f"{export}1", "--array=1-2", "-o", str(tmp_path / "grid-%a.log")]
    slurm_cluster.call(
        *(*grid, str(ROOT / "slurm/sweep.sbatch"), str(config)),
        *(str(tmp_path / "settings.txt"), str(tmp_path / "grid")),
    )
    logs = ["two.log", "grid-1.log", "grid-2.log"]
    wait_until(
        lambda: not slurm_cluster.call("squeue", "-h"),
        240,
        lambda: "\n".join((tmp_path / log).read_text()[-2000:] for log in logs),
    )
    statuses = [tmp_path / "two" / "status.json", *tmp_path.glob("grid/*/status.json")]
    assert len(statuses) == 3, (tmp_path / "two.log").read_text()
    assert {json.loads(path.read_text())["state"] for path in statuses} == {"finished"}
    assert "4 rank(s)" in (tmp_path / "two.log").read_text()
