"""The code and the environment of a job on a real Slurm, whatever the launcher's own are."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from launch import worker
from tests.launch.conftest import ROOT, SLURM_CLUSTER, SlurmCluster, Sweep, base_tree
from tests.waiting import wait_until

pytestmark = pytest.mark.slurm

# What a launcher inherits from a job it runs in, from another training, or from the site.
FOREIGN = {
    "SBATCH_EXPORT": "NONE",
    "SBATCH_TIMELIMIT": "1",
    "SBATCH_JOB_NAME": "other",
    "SBATCH_ARRAY_INX": "0-2",
    "SLURM_EXPORT_ENV": "NONE",
    "SLURM_MEM_PER_CPU": "100",
    "SLURM_MEM_PER_NODE": "100",
    "SLURM_NTASKS": "7",
    "SLURM_JOB_ID": "424242",
    "SLURM_ARRAY_JOB_ID": "424242",
    "SLURM_ARRAY_TASK_ID": "7",
    "SLURM_RESTART_COUNT": "5",
    "TMPDIR": "/tmp/slurm.424242",
    "SQUEUE_STATES": "COMPLETED",
    "SCANCEL_STATE": "SUSPENDED",
    "SUBMITIT_EXECUTOR": "local",
    "GANTRAIN_JOB": "7",
    "GANTRAIN_JOB_RANK": "3",
    "RANK": "3",
    "LOCAL_RANK": "3",
    "WORLD_SIZE": "8",
    "MASTER_ADDR": "nowhere",
    "PMI_SIZE": "8",
    "OMPI_COMM_WORLD_SIZE": "8",
    "CUDA_VISIBLE_DEVICES": "5",
    "WANDB_RUN_ID": "other",
    "WANDB_RESUME": "must",
}


def test_waiting_and_requeued_runs_use_the_code_of_their_submission(
    on_slurm: Callable[..., Sweep], slurm_cluster: SlurmCluster, squares: Path, tmp_path: Path
) -> None:
    # The launcher runs in a checkout, whose code changes afterwards; decoders are processes too.
    base = base_tree(squares, kimg=500)
    base["data"] |= {"mode": "stream", "workers": 1}
    sweep = on_slurm(
        {"sbatch": {"hold": True}},
        base=base,
        zip={"seed": [0, 1], "training.total_kimg": [500, 0.16]},
        dir=str(tmp_path / "lr: 1e-4 (a)"),
    )
    sweep = replace(sweep, name="lr: 1e-4 (a)")
    _check_out(tmp_path)
    marked = ("launch/worker.py", "gantrain/train.py", "gantrain/data/loading/stream.py")
    for name in marked:
        _append(tmp_path / name, 'import sys; sys.stderr.write(f"as submitted: {__file__}\\n")')
    sweep.environment["PYTHONPATH"] = ""
    sweep.run("sweep", str(sweep.file))
    for name in marked:
        _append(tmp_path / name, "raise SystemExit('edited afterwards')")
    sweep.environment["PYTHONPATH"] = str(ROOT)
    long, short = (row["run"] for row in sweep.runs())
    job = next(iter(slurm_cluster.call("squeue", "-h", "-o", "%F").split()))
    slurm_cluster.call("scontrol", "release", job)
    sweep.wait_images(long, 32)
    slurm_cluster.call("scontrol", "requeue", f"{job}_0")
    wait_until(lambda: len(sweep.starts(long)) == 2, 480, sweep.logs)
    sweep.wait_images(long, sweep.starts(long)[1]["images"] + 1)
    slurm_cluster.call("scancel", f"{job}_0")

    (code,) = (sweep.directory / "code").iterdir()
    for run in (long, short):
        log = (sweep.run_dir(run) / "logs" / "rank0.log").read_text()
        files = {line.split(": ", 1)[1] for line in log.splitlines() if "as submitted: " in line}
        assert files == {str(code / name) for name in marked[1:]}, log
        assert "edited" not in log
    assert "finished" in (sweep.run_dir(short) / "status.json").read_text()


def test_nothing_of_the_launchers_own_job_reaches_the_runs(
    on_slurm: Callable[..., Sweep], slurm_cluster: SlurmCluster, squares: Path
) -> None:
    sweep = on_slurm(
        {"sbatch": {"export": "NONE"}},  # as some sites set it
        base=base_tree(squares, kimg=500),
        zip={"seed": [0, 1], "training.total_kimg": [500, 0.16]},
    )
    in_a_job = ["srun", "-p", "low", "-n1", "--mem-per-cpu=100"]
    subprocess.run(
        [*in_a_job, *sweep.command("sweep", str(sweep.file))],
        cwd=sweep.folder,
        env=sweep.environment,
        check=True,
    )
    long = sweep.runs()[0]["run"]
    sweep.wait_images(long, 32)
    wait_until(lambda: sweep.states() == ["running", "finished"], 480, sweep.logs)

    # From a shell with such variables, which must not disturb the other commands either.
    settings = sweep.folder / "cluster.yaml"
    settings.write_text(yaml.safe_dump(SLURM_CLUSTER))
    sweep.environment.update(FOREIGN)
    sweep.run("cancel", str(sweep.file), "--all")
    wait_until(lambda: not slurm_cluster.call("squeue", "-h"), 480)
    again = sweep.json("retry", long, "--cluster", str(settings))
    assert again["submitted"] == [long]
    wait_until(lambda: len(sweep.starts(long)) == 2, 480, sweep.logs)
    sweep.wait_images(long, sweep.starts(long)[1]["images"] + 1)
    assert sweep.states() == ["running", "finished"]
    assert slurm_cluster.call("squeue", "-h", "-o", "%l") == "30:00"
    pid = json.loads((sweep.run_dir(long) / "status.json").read_text())["pid"]
    lines = Path(f"/proc/{pid}/environ").read_text().split("\0")
    environment = dict(line.split("=", 1) for line in lines if line)
    assert environment["OMP_NUM_THREADS"] == "1"  # passed on, whatever SBATCH_EXPORT says
    assert not {k: v for k, v in FOREIGN.items() if environment.get(k) == v}


def test_a_worker_without_a_place_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    (tmp_path / "jobs" / "token").mkdir(parents=True)
    content = {"worker": {"cwd": ".", "executor": "slurm"}, "elements": [[["a"]], [["b"]]]}
    (tmp_path / "jobs" / "token" / "elements.json").write_text(json.dumps(content))
    for arguments, message in (
        (["token"], "SLURM_ARRAY_TASK_ID"),
        (["token", ""], "SLURM_ARRAY_TASK_ID"),
        (["token", "2"], "below 2"),
        (["token", "1"], "SLURM_PROCID"),
        (["unknown", "1"], "elements.json"),
    ):
        assert worker.main([str(tmp_path), *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def _check_out(folder: Path) -> None:
    for package in ("gantrain", "launch"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)


def _append(path: Path, line: str) -> None:
    path.write_text(f"{path.read_text()}\n{line}\n")
