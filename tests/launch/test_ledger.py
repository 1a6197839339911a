"""The ledger when launchers are killed at every step, with a fake Slurm."""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import submitit
import yaml

from gantrain.common.errors import UserError
from launch import ledger, slurm
from launch.attempts import CANCEL, write_marker
from launch.cluster import Cluster
from launch.edited_files import EditedFiles
from launch.launcher import LaunchResult, resubmit, submit_missing
from launch.ledger import latest_tasks, read_ledger
from launch.plan import plan_runs
from launch.settings import LaunchSettings
from launch.slurm import SubmitLimitError
from launch.states import read_sweep_status
from launch.sweepfile import load_sweep
from tests.launch.conftest import base_tree


class KilledError(BaseException):
    """Simulates the death of the launcher."""


@dataclass
class FakeSlurm:
    """Accepts jobs, lists them, counts calls, and kills the launcher at a chosen step."""

    jobs: dict[str, tuple[str, int]] = field(default_factory=dict)  # job to name and tasks
    calls: list[str] = field(default_factory=list)
    steps: int = 0
    die_at: int = -1
    refuse: bool = False
    max_tasks: int = 1000
    max_array: int = 4
    cluster: str = "one"
    port: int = 6817
    private: str = "none"

    def step(self) -> None:
        """Mark a point at which the launcher may be killed."""
        self.steps += 1
        if self.steps == self.die_at:
            raise KilledError

    def accept(self, text: str) -> str:
        """Accept the array of a job script; return its id."""
        self.step()
        if self.refuse:
            raise UserError("sbatch: error: QOSMaxSubmitJobPerUserLimit")
        name = text.split("--job-name=")[1].split()[0]
        last = int(text.split("--array=0-")[1].split("%")[0])
        if sum(count for _, count in self.jobs.values()) + last + 1 > self.max_tasks:
            raise SubmitLimitError("AssocMaxSubmitJobLimit")
        self.jobs[str(100 + len(self.jobs))] = (name, last + 1)
        self.step()
        return list(self.jobs)[-1]

    def run_command(self, command: list[str]) -> str:
        """Return what Slurm's commands would print."""
        self.calls.append(command[0])
        if command[:2] == ["scontrol", "show"]:
            size = f"MaxArraySize = {self.max_array}\nPrivateData = {self.private}"
            storage = "AccountingStorageType = accounting_storage/none"
            cluster = f"ClusterName = {self.cluster}\nSlurmctldPort = {self.port}"
            return f"{cluster}\n{storage}\n{size}\n"
        assert command[0] == "squeue"
        names = [part.removeprefix("--name=") for part in command if part.startswith("--name=")]
        if names:
            return "\n".join(job for job, (name, _) in self.jobs.items() if name == names[0])
        rows = [
            f"{job}|{i}|PENDING|Priority||{name}"
            for job, (name, count) in self.jobs.items()
            for i in range(count)
        ]
        return "\n".join(rows)


@pytest.fixture
def fake_slurm(monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Replaces every call to Slurm, and counts writes to the ledger as steps."""
    fake = FakeSlurm()
    append = ledger._append

    def append_in_steps(sweep_dir: Path, line: dict[str, Any]) -> None:
        fake.step()
        append(sweep_dir, line)
        fake.step()

    monkeypatch.setattr(ledger, "_append", append_in_steps)
    monkeypatch.setattr(slurm, "run_command", fake.run_command)
    monkeypatch.setattr(
        slurm, "submit_script", lambda script, lock: fake.accept(script.read_text())
    )
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    monkeypatch.setattr("launch.launcher.snapshot_code", lambda folder: folder / "code")
    return fake


@pytest.fixture
def launch_ten(tmp_path: Path) -> Callable[[], LaunchResult]:
    """Submits what is missing of a sweep of ten runs: arrays of 4, 4 and 2 tasks."""
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base_tree(Path("squares"))))
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"name": "s", "base": "base.yaml", "seeds": 10}))
    runs = plan_runs(load_sweep(path), path, 1)
    settings = LaunchSettings("s", tmp_path / "sweep", Cluster(executor="slurm"), throttle=3)
    return lambda: submit_missing(settings, runs)


def assert_each_run_submitted_once(fake_slurm: FakeSlurm, sweep_dir: Path) -> None:
    tasks = latest_tasks(read_ledger(sweep_dir))
    jobs = [task.job for task in tasks.values()]
    assert len(tasks) == len(set(jobs)) == 10
    accepted = {f"{job}_{i}" for job, (_, count) in fake_slurm.jobs.items() for i in range(count)}
    assert set(jobs) == accepted  # no job is lost, none is missing from the ledger


@pytest.mark.parametrize("point", range(1, 19))
def test_launcher_killed_at_every_step(
    fake_slurm: FakeSlurm, launch_ten: Callable[[], LaunchResult], tmp_path: Path, point: int
) -> None:
    fake_slurm.die_at = point
    with pytest.raises(KilledError):
        launch_ten()
    launch_ten()
    assert launch_ten().submitted == []
    assert_each_run_submitted_once(fake_slurm, tmp_path / "sweep")


def test_undisturbed_launch_has_18_steps(
    fake_slurm: FakeSlurm, launch_ten: Callable[[], LaunchResult], tmp_path: Path
) -> None:
    done = launch_ten()
    assert (
        fake_slurm.steps == 18
    )  # three arrays; before and after each of intent, sbatch, submitted
    assert len(done.submitted) == 10
    assert [len(job.tasks) for job in done.jobs] == [4, 4, 2]
    assert_each_run_submitted_once(fake_slurm, tmp_path / "sweep")


def test_truncated_ledger_line_is_recovered(
    fake_slurm: FakeSlurm, launch_ten: Callable[[], LaunchResult], tmp_path: Path
) -> None:
    launch_ten()
    path = tmp_path / "sweep" / "ledger.jsonl"
    text = path.read_text().rstrip("\n")
    path.write_text(text[: -len(text.splitlines()[-1]) // 2])
    again = launch_ten()
    assert again.submitted == []
    assert len(again.recovered) == 1
    assert_each_run_submitted_once(fake_slurm, tmp_path / "sweep")


def test_refused_submission_can_be_repeated(
    fake_slurm: FakeSlurm, launch_ten: Callable[[], LaunchResult], tmp_path: Path
) -> None:
    fake_slurm.refuse = True
    with pytest.raises(UserError, match="QOSMaxSubmitJob"):
        launch_ten()
    assert fake_slurm.jobs == {}
    fake_slurm.refuse = False
    assert len(launch_ten().submitted) == 10
    assert_each_run_submitted_once(fake_slurm, tmp_path / "sweep")


def test_each_array_depends_on_the_previous_one(
    fake_slurm: FakeSlurm,
    launch_ten: Callable[[], LaunchResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts: list[str] = []
    accept = fake_slurm.accept

    def record(text: str) -> str:
        texts.append(text)
        return accept(text)

    monkeypatch.setattr(fake_slurm, "accept", record)
    launch_ten()
    assert ["--dependency" in text for text in texts] == [False, True, True]
    assert "--dependency=afterany:100" in texts[1]
    assert "--array=0-3%3" in texts[0]
    assert "--array=0-1%2" in texts[2]


def test_jobs_are_named_after_the_sweep_and_those_of_earlier_versions_are_found(
    fake_slurm: FakeSlurm, launch_ten: Callable[[], LaunchResult], tmp_path: Path
) -> None:
    launch_ten()
    names = [name for name, _ in fake_slurm.jobs.values()]
    assert all(re.fullmatch("gantrain-s-[0-9a-f]{10}", name) for name in names)
    # Version 0.2.0 named a job by its token alone, and kept no name in the ledger.
    path = tmp_path / "sweep" / "ledger.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines() if line]
    kept = [{k: v for k, v in line.items() if k != "name"} for line in lines]
    # Of the last submission not even the number of its job.
    path.write_text("".join(json.dumps(line) + "\n" for line in kept[:-1]))
    for job, (name, count) in fake_slurm.jobs.items():
        fake_slurm.jobs[job] = name.rpartition("-")[2], count
    assert launch_ten().submitted == []
    assert {run.state for run in read_sweep_status(tmp_path / "sweep").runs} == {"pending"}
    assert_each_run_submitted_once(fake_slurm, tmp_path / "sweep")


def test_a_job_name_has_no_character_that_separates_it_from_a_task() -> None:
    assert ledger.job_name("my sweep_2|ä", "0a1b") == "gantrain-my-sweep-2-0a1b"
    assert ledger.job_name("x" * 300, "0a1b") == f"gantrain-{'x' * 40}-0a1b"
    assert ledger.job_name("…", "0a1b") == "gantrain-0a1b"


@pytest.mark.parametrize(
    ("printed", "status", "said"),
    [
        (
            "scontrol: error: fetch_config: DNS SRV lookup failed\n"
            "scontrol: fatal: Could not establish a configuration source",
            1,
            "scontrol: Slurm's commands are installed here, but they know no cluster (fatal: Could "
            "not establish a configuration source); run this on a login node, set SLURM_CONF, or "
            "choose `cluster: local`.",
        ),
        (
            "slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)",
            1,
            "scontrol: slurm_load_ctl_conf error: Unable to contact slurm controller (connect "
            "failure); Slurm's controller does not answer, which `scontrol ping` tells too. Try "
            "again later, or choose `cluster: local`.",
        ),
        ("scontrol: error: something else", 3, "scontrol: error: something else"),
        ("", 3, "scontrol: exit status 3"),
    ],
)
def test_commands_that_know_no_cluster_say_what_to_do(
    printed: str, status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "scontrol"
    script.write_text(f"#!/bin/sh\necho {shlex.quote(printed)} >&2\nexit {status}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(UserError) as raised:
        slurm.read_limits()
    assert str(raised.value) == said


def test_nothing_is_submitted_without_a_response_from_slurm(
    fake_slurm: FakeSlurm, launch_ten: Callable[[], LaunchResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    launch_ten()

    def fail(command: list[str]) -> str:
        raise UserError("squeue: Unable to contact slurm controller")

    monkeypatch.setattr(slurm, "run_command", fail)
    with pytest.raises(UserError, match="nothing was submitted"):
        launch_ten()


def test_status_of_1000_runs_takes_two_calls(fake_slurm: FakeSlurm, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base_tree(Path("squares"))))
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"name": "s", "base": "base.yaml", "seeds": 1000}))
    runs = plan_runs(load_sweep(path), path, 1)
    settings = LaunchSettings("s", tmp_path / "sweep", Cluster(executor="slurm"))
    fake_slurm.max_array = 300
    submit_missing(settings, runs)
    for run in runs[:500]:
        folder = tmp_path / "sweep" / "runs" / run.id
        folder.mkdir(parents=True)
        (folder / "status.json").write_text(json.dumps({"state": "finished", "images_seen": 160}))
    assert len(fake_slurm.jobs) == 4
    fake_slurm.calls.clear()
    status = read_sweep_status(tmp_path / "sweep")
    assert fake_slurm.calls == ["scontrol", "squeue"]  # and sacct, with accounting
    states = [run.state for run in status.runs]
    assert states.count("finished") == states.count("pending") == 500


def test_what_finds_no_place_stays_as_it_was(
    fake_slurm: FakeSlurm, launch_ten: Callable[[], LaunchResult], tmp_path: Path
) -> None:
    fake_slurm.max_tasks = 7
    done = launch_ten()
    assert (len(done.submitted), len(done.waiting)) == (7, 3)
    assert done.limit == "AssocMaxSubmitJobLimit"
    assert [len(job.tasks) for job in done.jobs] == [4, 2, 1]
    assert launch_ten().waiting == done.waiting

    # The first three are cancelled; two of them find a place again.
    sweep_dir = tmp_path / "sweep"
    fake_slurm.max_tasks = 9
    again = done.submitted[:3]
    for run in again:
        write_marker(sweep_dir / "runs" / run, CANCEL, reason="test")
    chosen = [run for run in read_sweep_status(sweep_dir).runs if run.run in again]
    retried = resubmit(EditedFiles(sweep_dir, sweep_dir, None, None), chosen, named=True)
    assert (len(retried.submitted), len(retried.waiting)) == (2, 1)
    states = {run.run: run.state for run in read_sweep_status(sweep_dir).runs}
    assert [states[run] for run in again] == ["pending", "pending", "cancelled"]


@pytest.mark.parametrize("difference", [{"cluster": "two"}, {"port": 7000}])
def test_another_clusters_submissions_stay_open(
    fake_slurm: FakeSlurm, launch_ten: Callable[[], LaunchResult], difference: dict[str, Any]
) -> None:
    # A launcher dies on one cluster, and the next one runs on another.
    fake_slurm.die_at = 5
    with pytest.raises(KilledError):
        launch_ten()
    jobs, fake_slurm.jobs = fake_slurm.jobs, {}
    before = {name: getattr(fake_slurm, name) for name in difference}
    vars(fake_slurm).update(difference)
    there = launch_ten()
    assert len(there.submitted) == 6
    assert there.others == {"pending": 4}
    assert "only one" in there.recovered[0]
    # Both clusters' jobs count from 100.
    assert launch_ten().submitted == []
    vars(fake_slurm).update(before, jobs=jobs)
    back = launch_ten()
    assert back.submitted == []
    assert "is job 100" in back.recovered[0]


def test_other_users_hidden_jobs_are_not_vanished(
    fake_slurm: FakeSlurm,
    launch_ten: Callable[[], LaunchResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launch_ten()
    fake_slurm.jobs = {}
    fake_slurm.private = "jobs,users"
    monkeypatch.setattr("launch.task_infos.user_name", lambda: "somebody-else")
    assert launch_ten().others == {"pending": 10}
