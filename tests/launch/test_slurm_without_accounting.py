"""A cluster without slurmdbd, which forgets a job two seconds after it ends."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launch.conftest import SLURM_CLUSTER, SlurmCluster, Sweep, base_tree
from tests.waiting import wait_until

pytestmark = pytest.mark.slurm


def test_states_come_from_the_runs_own_files(
    bare_cluster: SlurmCluster, make_sweep: Callable[..., Sweep], squares: Path
) -> None:
    sweep = make_sweep(
        SLURM_CLUSTER,
        environment=bare_cluster.environment,
        base=base_tree(squares, 0.4),
        zip={
            "seed": [0, 1, 2, 3],
            "data.shards": [str(squares), "nowhere", str(squares), str(squares)],
            "training.total_kimg": [0.16, 0.16, 500, 500],
        },
    )
    sweep.run("sweep", str(sweep.file))
    finished, failed, cancelled, killed = (row["run"] for row in sweep.runs())
    sweep.wait_images(cancelled, 32)
    sweep.wait_images(killed, 32)
    rows = {row["run"]: row for row in sweep.runs()}
    assert rows[killed]["state"] == "running"
    bare_cluster.call("scancel", rows[cancelled]["job"])
    _kill_worker(sweep, killed)

    wait_until(lambda: not bare_cluster.call("squeue", "-h", "-t", "all"), 480)
    # As long as its heartbeat is fresh, a run that Slurm does not know may be alive.
    assert sweep.json("retry", killed)["submitted"] == []
    os.utime(sweep.run_dir(killed) / "ranks" / "rank-0000.json", (1, 1))
    os.utime(sweep.run_dir(killed) / "status.json", (1, 1))
    states = {row["run"]: row["state"] for row in sweep.runs()}
    assert states == {
        finished: "finished",
        failed: "failed",
        cancelled: "cancelled",
        killed: "vanished",
    }
    causes = {d["run"]: d["cause"] for d in sweep.json("doctor")["diagnoses"]}
    assert causes == {failed: "error", killed: "killed from outside"}
    # A job that Slurm has forgotten is not submitted again.
    assert sweep.json("sweep")["submitted"] == []
    assert sweep.json("retry")["submitted"] == [failed, killed]
    sweep.run("cancel", str(sweep.file), "--all")
    wait_until(lambda: not bare_cluster.call("squeue", "-h"), 480)


def _kill_worker(sweep: Sweep, run: str) -> None:
    status = json.loads((sweep.run_dir(run) / "status.json").read_text())
    trainer = int(status["pid"])
    worker = int(Path(f"/proc/{trainer}/stat").read_text().split()[3])
    os.kill(worker, signal.SIGKILL)
    os.kill(trainer, signal.SIGKILL)
