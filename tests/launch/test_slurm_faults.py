"""Faults of a cluster, caused on a real Slurm: no run is lost, none is submitted twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from gantrain.runs.paths import list_checkpoints
from tests.launch.conftest import SlurmCluster, Sweep, base_tree, curve_of
from tests.waiting import wait_until
from tests.wandb_files import assert_complete

pytestmark = pytest.mark.slurm
KIMG = 16


@pytest.fixture(scope="module")
def undisturbed(
    squares: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], list[dict[str, float]]]]:
    """Returns the metrics of the long run, trained without Slurm while the first test runs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    tree = base_tree(squares, KIMG)
    tree["output"]["run_dir"] = str(folder / "run")
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    child = subprocess.Popen(
        [sys.executable, "-m", "gantrain.train", "--config", str(folder / "config.yaml")],
        env={**kept, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def curve() -> list[dict[str, float]]:
        assert child.wait(120) == 0
        return curve_of(folder / "run")

    yield curve
    child.kill()


@pytest.fixture
def long_run(on_slurm: Callable[..., Sweep], squares: Path) -> Sweep:
    """A sweep of one run of some seconds, with several checkpoints."""
    return on_slurm(base=base_tree(squares, KIMG))


def start(sweep: Sweep, images: int = 600) -> str:
    """Submit the sweep's one run and wait until it has seen this many images; return its id."""
    sweep.run("sweep", str(sweep.file))
    run: str = sweep.runs()[0]["run"]
    sweep.wait_images(run, images)
    return run


def occupy(cluster: SlurmCluster) -> None:
    """Submit a job to the high partition that takes both nodes for a second."""
    wrapped = ["--exclusive", "-N2", "-o", "/dev/null", "--wrap", "srun sleep 1"]
    cluster.call("sbatch", "-p", "high", *wrapped)


def wait_for_requeue(sweep: Sweep, run: str) -> None:
    """Wait until the run is `requeued`, or has started again before that could be seen."""
    wait_until(
        lambda: sweep.states()[0] == "requeued" or len(sweep.starts(run)) > 1,
        480,
        lambda: f"{sweep.runs()}{sweep.logs()}",
    )


def test_preempted_without_a_signal(
    on_slurm: Callable[..., Sweep],
    squares: Path,
    slurm_cluster: SlurmCluster,
    undisturbed: Callable[[], list[dict[str, float]]],
) -> None:
    sweep = on_slurm(base=base_tree(squares, KIMG) | {"wandb": {"mode": "offline"}})
    run = start(sweep)
    occupy(slurm_cluster)  # SIGTERM to every process of the step, W&B's service among them
    wait_for_requeue(sweep, run)
    row = sweep.wait("finished")[0]
    assert len(sweep.starts(run)) == 2
    assert row["attempts"] == 2
    assert sweep.curve(run) == undisturbed()
    assert "Traceback" not in sweep.logs()
    assert_complete(sweep.run_dir(run))


def test_preempted_with_the_user_signal(
    long_run: Sweep, slurm_cluster: SlurmCluster, undisturbed: Callable[[], list[dict[str, float]]]
) -> None:
    before = slurm_cluster.options
    slurm_cluster.up("--preempt-signal", "--grace", "20")
    try:
        run = start(long_run)
        occupy(slurm_cluster)
        wait_for_requeue(long_run, run)
        long_run.wait("finished")
    finally:
        slurm_cluster.up(*before)
    starts = long_run.starts(run)
    assert len(starts) == 2
    assert starts[1]["images"] >= 600  # from the checkpoint saved on the signal
    assert long_run.curve(run) == undisturbed()


def test_run_longer_than_the_time_limit(
    on_slurm: Callable[..., Sweep], squares: Path, slurm_cluster: SlurmCluster
) -> None:
    # The time limit is one minute, so the signal arrives as soon as the job runs.
    sweep = on_slurm({"time": 1, "signal_seconds": 52}, base=base_tree(squares, kimg=2000))
    run = start(sweep, 32)
    wait_until(lambda: len(sweep.starts(run)) >= 2, 480, lambda: f"{sweep.runs()}{sweep.logs()}")
    sweep.wait_images(run, sweep.starts(run)[1]["images"] + 32)
    row = sweep.runs()[0]
    assert row["state"] in ("running", "requeued")
    assert sweep.json("doctor")["diagnoses"] == []
    assert sweep.json("retry")["submitted"] == []
    assert sweep.json("sweep")["submitted"] == []


def test_scancel_neither_fails_nor_requeues(long_run: Sweep, slurm_cluster: SlurmCluster) -> None:
    run = start(long_run, 100)
    slurm_cluster.call("scancel", long_run.runs()[0]["job"])
    long_run.wait("cancelled")
    time.sleep(1)
    assert not slurm_cluster.call("squeue", "-h")
    assert long_run.json("sweep")["submitted"] == []
    assert len(long_run.starts(run)) == 1
    assert long_run.json("retry")["submitted"] == []


def test_node_set_down(
    long_run: Sweep, slurm_cluster: SlurmCluster, undisturbed: Callable[[], list[dict[str, float]]]
) -> None:
    run = start(long_run)
    node = long_run.runs()[0]["nodes"]
    slurm_cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def has_finished() -> bool:
        (row,) = long_run.runs()
        if "held" in row["reason"]:  # Slurm tried the node that was down again, and holds the job
            slurm_cluster.call("scontrol", "release", row["job"])
        return bool(row["state"] == "finished")

    try:
        wait_until(has_finished, 480, lambda: f"{long_run.runs()}{long_run.logs()}")
    finally:
        with suppress(subprocess.CalledProcessError):  # it may have resumed by itself
            slurm_cluster.call("scontrol", "update", f"nodename={node}", "state=resume")
    starts = long_run.starts(run)
    assert len(starts) == 2
    assert starts[1]["images"] > 0
    assert long_run.curve(run) == undisturbed()


@pytest.mark.parametrize(
    ("moment", "script"),
    [
        ("before sbatch", "kill -9 $PPID; exit 1"),
        ("while sbatch waits", 'kill -9 $PPID; sleep 2; exec {sbatch} "$@"'),
        ("after sbatch", '{sbatch} "$@"; kill -9 $PPID'),
    ],
)
def test_launcher_killed(
    on_slurm: Callable[..., Sweep],
    tmp_path: Path,
    slurm_cluster: SlurmCluster,
    moment: str,
    script: str,
) -> None:
    sweep = on_slurm(seeds=2)
    sbatch = slurm_cluster.call("which", "sbatch")
    trap = tmp_path / "bin" / "sbatch"
    trap.parent.mkdir()
    trap.write_text("#!/bin/bash\n" + script.replace("{sbatch}", sbatch) + "\n")
    trap.chmod(0o755)
    path = f"{trap.parent}:{sweep.environment['PATH']}"
    sweep.run("sweep", str(sweep.file), status=-signal.SIGKILL, PATH=path)
    # The next launcher settles the submission: no run is lost or submitted twice.
    result = sweep.json("sweep")
    assert len(result["recovered"]) == 1
    assert len(result["submitted"]) == (2 if moment == "before sbatch" else 0)
    rows = sweep.wait("finished")
    assert [len(sweep.starts(row["run"])) for row in rows] == [1, 1]
    assert len(slurm_cluster.call("squeue", "-h", "-t", "all", "-o", "%F").split()) >= 2


def test_broken_environment(on_slurm: Callable[..., Sweep]) -> None:
    # Like a module that is not loaded: Python does not find its standard library.
    sweep = on_slurm({"setup": ["export PYTHONHOME=/nowhere"]})
    sweep.run("sweep", str(sweep.file))
    sweep.wait("failed")
    (diagnosis,) = sweep.json("doctor")["diagnoses"]
    assert diagnosis["cause"] == "import error"
    assert "No module named" in diagnosis["evidence"]
    assert sweep.json("sweep")["submitted"] == []


def test_killed_worker_vanishes_and_is_retried(
    long_run: Sweep, slurm_cluster: SlurmCluster
) -> None:
    run = start(long_run, 450)
    # The checkpoint of 400 images is written beside the training.
    wait_until(lambda: list_checkpoints(long_run.run_dir(run)), 400)
    status = json.loads((long_run.run_dir(run) / "status.json").read_text())
    worker = int(Path(f"/proc/{status['pid']}/stat").read_text().split()[3])
    # Without cgroups Slurm does not end the trainer of a dead worker, and it would finish the run.
    for process in (worker, status["pid"]):
        os.kill(process, signal.SIGKILL)
    row = long_run.wait("failed", "vanished")[0]
    assert row["run"] == run
    (diagnosis,) = long_run.json("doctor")["diagnoses"]
    assert diagnosis["cause"] == "killed from outside"
    assert long_run.json("sweep")["submitted"] == []
    assert long_run.json("retry")["submitted"] == [run]
    wait_until(lambda: len(long_run.starts(run)) == 2, 480)
    assert long_run.starts(run)[1]["images"] >= 400
