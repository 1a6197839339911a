"""Runs whose worker never started on a real Slurm: what doctor shows, and following its advice."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.launch.conftest import SlurmCluster, Sweep, base_tree
from tests.waiting import wait_until

pytestmark = pytest.mark.slurm


def follow(sweep: Sweep, advice: str, **values: object) -> None:
    """Edit the keys of the file that an advice names, then run its commands."""
    (file,) = set(re.findall(r" in (/\S+\.yaml)", advice))
    tree = yaml.safe_load(Path(file).read_text())
    for key, value in values.items():
        assert f"`{key}`" in advice
        tree[key] = value
    Path(file).write_text(yaml.safe_dump(tree))
    commands = re.findall(r"`(gantrain launch [^`]+)`", advice)
    assert commands
    for command in commands:
        arguments = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(
            arguments,
            cwd=sweep.folder,
            env=sweep.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def diagnosis_of(sweep: Sweep) -> dict[str, Any]:
    (diagnosis,) = wait_until(
        lambda: sweep.json("doctor")["diagnoses"], 480, lambda: str(sweep.runs())
    )
    return dict(diagnosis)


def test_a_failing_set_up_is_shown_and_corrected(on_slurm: Callable[..., Sweep]) -> None:
    sweep = on_slurm({"setup": ["echo preparing", "ls /nonexistent", "echo going on"]})
    sweep.run("sweep", str(sweep.file))
    found = diagnosis_of(sweep)
    assert found["cause"] == "set-up failed"
    assert re.fullmatch(r"FAILED, (NonZeroExitCode|exit code 1:0), on gantrain-n\d", found["slurm"])
    assert any("cannot access '/nonexistent'" in line for line in found["lines"])
    log = Path(sweep.folder, found["log"])
    assert "launch: set-up failed with status 2 at: ls /nonexistent" in log.read_text()
    assert "going on" not in log.with_suffix(".out").read_text()
    text = sweep.run("doctor", str(sweep.file)).stdout
    assert found["log"] in text
    assert "| ls: cannot access" in text
    assert sweep.json("tail", found["run"])["lines"] == found["lines"]
    follow(sweep, found["advice"], setup=["true"])
    sweep.wait("finished")


def test_jobs_that_cannot_start_are_explained_and_corrected(
    on_slurm: Callable[..., Sweep], slurm_cluster: SlurmCluster
) -> None:
    slurm_cluster.call("scontrol", "update", "partitionname=low", "maxtime=20")
    try:
        sweep = on_slurm()
        sweep.run("sweep", str(sweep.file))
        found = diagnosis_of(sweep)
        # Slurm gives one reason when the job arrives, and sometimes another when it is scheduled.
        assert (found["cause"], found["evidence"].split(", ")[1]) in (
            ("more time than is allowed", "PartitionTimeLimit"),
            ("more than the partition allows", "PartitionConfig"),
        )
        follow(sweep, found["advice"], time=10)
        sweep.wait("finished")
    finally:
        slurm_cluster.call("scontrol", "update", "partitionname=low", "maxtime=infinite")


def test_a_request_that_no_node_meets(on_slurm: Callable[..., Sweep]) -> None:
    sweep = on_slurm({"exclude": "gantrain-n[1-2]"})
    sweep.run("sweep", str(sweep.file))
    found = diagnosis_of(sweep)
    assert found["cause"] == "no node that may be used"
    follow(sweep, found["advice"], exclude=None)
    sweep.wait("finished")


def test_tail_and_report_know_what_runs_and_what_was_cancelled(
    on_slurm: Callable[..., Sweep], slurm_cluster: SlurmCluster, squares: Path
) -> None:
    sweep = on_slurm(base=base_tree(squares, kimg=500), seeds=4, throttle=1)
    sweep.run("sweep", str(sweep.file))
    first, _, third, _ = sweep.runs()
    sweep.wait_images(first["run"], 32)
    slurm_cluster.call("scancel", third["job"])
    expected = ["running", "pending", "cancelled", "pending"]
    wait_until(lambda: sweep.states() == expected, 480, lambda: str(sweep.runs()))
    assert sweep.json("tail", first["run"])["state"] == "running"
    sweep.run("report", str(sweep.file))
    page = (sweep.directory / "report.html").read_text()
    assert re.findall(r'"state":"(\w+)"', page) == expected
    assert sweep.json("doctor")["diagnoses"] == []
    assert sweep.json("retry")["submitted"] == []
    # All that wait at once.
    slurm_cluster.call("scancel", "--state=PENDING", third["job"].split("_")[0])
    expected = ["running", "cancelled", "cancelled", "cancelled"]
    wait_until(lambda: sweep.states() == expected, 480, lambda: str(sweep.runs()))
    sweep.run("cancel", str(sweep.file), first["run"])
    assert sweep.states() == ["cancelled"] * 4
