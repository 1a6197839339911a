"""Which job is whose, on a real Slurm: other users, other clusters, other jobs of one number."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from launch.attempts import read_attempts
from tests.launch.conftest import SlurmCluster, Sweep, base_tree
from tests.waiting import wait_until

pytestmark = pytest.mark.slurm


def test_a_job_is_known_by_its_cluster_and_its_name(
    on_slurm: Callable[..., Sweep],
    slurm_cluster: SlurmCluster,
    bare_cluster: SlurmCluster,
    squares: Path,
) -> None:
    sweep = on_slurm(base=base_tree(squares, kimg=500), seeds=2, throttle=1)
    sweep.run("sweep", str(sweep.file))
    sweep.wait_images(sweep.runs()[0]["run"], 32)

    # Under a login name that is not the user's.
    expected = ["running", "pending"]
    names = {**sweep.environment, "LOGNAME": "nobody", "USER": "nobody"}
    assert replace(sweep, environment=names).states() == expected

    # From another cluster on the same file system.
    elsewhere = {**sweep.environment, **bare_cluster.environment}
    assert replace(sweep, environment=elsewhere).states() == expected
    for command in ("retry", "sweep"):
        assert replace(sweep, environment=elsewhere).json(command)["submitted"] == []

    # After the numbering has started again: another job has the number.
    hold = ["-H", "-p", "low", "-o", "/dev/null", "--parsable", "--wrap", "true"]
    other = slurm_cluster.call("sbatch", "--array=0-1", *hold)
    job = sweep.runs()[0]["job"].split("_")[0]
    ledger = sweep.directory / "ledger.jsonl"
    before = ledger.read_text()
    ledger.write_text(before.replace(f'"job": "{job}"', f'"job": "{other}"'))
    # The heartbeat tells that the first run lives; nothing does of the second.
    assert sweep.states() == ["running", "vanished"]
    sweep.run("cancel", str(sweep.file), "--all")
    assert len(slurm_cluster.call("squeue", "-h", "-r", "-j", other).splitlines()) == 2
    slurm_cluster.call("scancel", other)
    ledger.write_text(before)
    wait_until(lambda: not slurm_cluster.call("squeue", "-h"), 480, sweep.logs)
    assert sweep.states() == ["cancelled", "cancelled"]


def test_a_requeued_run_waits_for_a_start_that_slurm_has_lost(
    on_slurm: Callable[..., Sweep], slurm_cluster: SlurmCluster, squares: Path
) -> None:
    sweep = on_slurm(base=base_tree(squares, kimg=500))
    sweep.run("sweep", str(sweep.file))
    row = sweep.runs()[0]
    run = row["run"]
    sweep.wait_images(run, 32)
    node = sweep.runs()[0]["nodes"]
    trainer = json.loads((sweep.run_dir(run) / "status.json").read_text())["pid"]
    # The node's daemon dies, the trainer lives on, and Slurm gives the job to the other node.
    os.kill(int((slurm_cluster.folder / f"slurmd-{node}.pid").read_text()), signal.SIGKILL)
    try:
        slurm_cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        log = sweep.run_dir(run) / "logs" / "rank0.log"
        waits = f"start 2 waits for process {trainer}"
        wait_until(lambda: waits in log.read_text(), 480, sweep.logs)
        assert sweep.states() == ["running"]
        assert len(sweep.starts(run)) == 1
        os.kill(trainer, signal.SIGKILL)
        wait_until(lambda: len(sweep.starts(run)) == 2, 480, sweep.logs)
        sweep.wait_images(run, sweep.starts(run)[1]["images"] + 1)
        first, second = read_attempts(sweep.run_dir(run))
        assert (first.restart, first.outcome) == (0, "killed")
        assert (second.restart, second.outcome) == (1, None)
        assert sweep.states() == ["running"]
    finally:
        slurm_cluster.up(*slurm_cluster.options)
        with suppress(subprocess.CalledProcessError):  # it may have resumed by itself
            slurm_cluster.call("scontrol", "update", f"nodename={node}", "state=resume")
