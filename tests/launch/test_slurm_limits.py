"""Sweeps of more jobs than Slurm accepts at once."""

import json
import subprocess
from collections.abc import Callable

import pytest

from tests.launch.conftest import SLURM_CLUSTER, SlurmCluster, Sweep
from tests.waiting import wait_until

pytestmark = pytest.mark.slurm


def test_a_limit_on_submitted_jobs(
    on_slurm: Callable[..., Sweep], slurm_cluster: SlurmCluster
) -> None:
    def set_limit(jobs: int) -> None:
        limit = f"MaxSubmitJobs={jobs}"
        slurm_cluster.call("sacctmgr", "-i", "modify", "user", "root", "set", limit)

    def queued() -> list[str]:
        return slurm_cluster.call("squeue", "-h", "-r", "-o", "%i").split()

    sweep = on_slurm({"sbatch": {"hold": True}}, seeds=25)
    try:
        set_limit(0)
        done = sweep.run("sweep", str(sweep.file), status=75)
        assert done.stderr.startswith("launch: 0 submitted, 25 left")
        assert "AssocMaxSubmitJobLimit" in done.stderr
        assert set(sweep.states()) == {"planned"}

        set_limit(9)
        done = sweep.run("sweep", str(sweep.file))
        assert "9 submitted, 16 left" in done.stdout
        assert "sweep --wait" in done.stdout
        assert sorted(sweep.states()) == ["pending"] * 9 + ["planned"] * 16
        # The throttle is 64: no array waits for another one.
        assert (
            slurm_cluster.call("squeue", "-h", "-o", "%E|").replace("(null)", "").strip("|\n") == ""
        )
        again = sweep.json("sweep")
        assert (again["submitted"], len(again["waiting"])) == ([], 16)

        # It submits more as places come free.
        with subprocess.Popen(
            sweep.command("sweep", str(sweep.file), "--wait", "--json"),
            cwd=sweep.folder,
            env=sweep.environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as waiting:
            slurm_cluster.call("scancel", *queued()[:4])
            wait_until(lambda: len(queued()) == 9, 480, lambda: str(sweep.runs()))
            assert waiting.poll() is None
            set_limit(-1)
            slurm_cluster.call("scancel", queued()[0])
            output, _ = waiting.communicate(timeout=480)
        result = json.loads(output)
        assert waiting.returncode == 0
        assert (len(result["submitted"]), result["waiting"]) == (16, [])
        # Slurm's records of what was cancelled may come late.
        states = ["cancelled"] * 5 + ["pending"] * 20
        wait_until(lambda: sorted(sweep.states()) == states, 120, lambda: str(sweep.runs()))
    finally:
        set_limit(-1)


def test_a_cluster_without_arrays_and_with_few_jobs(
    bare_cluster: SlurmCluster, make_sweep: Callable[..., Sweep]
) -> None:
    before = bare_cluster.options
    bare_cluster.up(*before, "--max-array", "0", "--max-jobs", "3")
    try:
        sweep = make_sweep(SLURM_CLUSTER, environment=bare_cluster.environment, seeds=4, throttle=2)
        first = sweep.json("sweep")
        assert 1 < len(first["jobs"]) == len(first["submitted"]) < 4
        assert len(first["waiting"]) == 4 - len(first["submitted"])
        # At most two run: each of the others waits for one job.
        waits = bare_cluster.call("squeue", "-h", "-o", "%E").splitlines()
        assert sum(text in ("", "(null)") for text in waits) <= 2
        rows = {row["run"]: row for row in sweep.runs()}
        assert {rows[run]["job"] for run in first["submitted"]} == {j["job"] for j in first["jobs"]}
        rest = sweep.json("sweep", "--wait")
        assert sorted(rest["submitted"]) == sorted(first["waiting"])
        sweep.wait("finished")
        assert all(len(sweep.starts(run)) == 1 for run in rows)
    finally:
        bare_cluster.call("scancel", "--quiet", "--user=root")
        bare_cluster.up(*before)
