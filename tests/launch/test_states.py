"""The state of a run, and its diagnosis, from whichever sources are available."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from launch.attempts import (
    EARLY_STOP,
    Attempt,
    read_attempts,
    write_end,
    write_marker,
    write_start,
)
from launch.doctor import diagnose
from launch.ledger import Submission, TaskRef
from launch.outcomes import outcome_of
from launch.slurm import TaskInfo, TaskInfos, expand_tasks
from launch.states import RunState, State, _state_of, classify
from launch.sweepdir import StoredRun
from launch.worker import makes_no_progress

TASK = TaskRef(Submission("token", "slurm", ([["run"]],), "submitted", "12"), 0)


def attempt(folder: Path, outcome: Any = None, status: int = 0, **end: Any) -> None:
    write_start(folder, Attempt(job="12_0", token="token", time=time.time()))
    if outcome is not None:
        write_end(folder, outcome, status, **end)


def state(folder: Path, slurm_state: str | None = None, **status: Any) -> State:
    info = TaskInfo(slurm_state) if slurm_state else None
    return classify(folder, TASK, info, "", status, read_attempts(folder))[0]


@pytest.mark.parametrize(
    ("outcome", "slurm_state", "expected"),
    [
        (None, "PENDING", "requeued"),
        (None, "RUNNING", "running"),
        (None, None, "vanished"),
        (None, "TIMEOUT", "interrupted"),
        (None, "PREEMPTED", "interrupted"),
        (None, "NODE_FAIL", "failed"),
        (None, "OUT_OF_MEMORY", "failed"),
        (None, "CANCELLED", "cancelled"),
        ("preempted", "PENDING", "requeued"),
        ("preempted", "CANCELLED", "cancelled"),
        ("preempted", "FAILED", "interrupted"),
        ("preempted", None, "interrupted"),
        ("failed", "RUNNING", "failed"),  # the other runs of the pack continue
        ("failed", None, "failed"),
        ("diverged", "FAILED", "failed"),
        ("no-progress", "FAILED", "failed"),
        ("stopped", None, "stopped"),
        ("cancelled", None, "cancelled"),
    ],
)
def test_state_after_a_start(
    tmp_path: Path, outcome: str | None, slurm_state: str | None, expected: State
) -> None:
    attempt(tmp_path, outcome)
    assert state(tmp_path, slurm_state) == expected


def test_state_before_a_start_and_after_the_end(tmp_path: Path) -> None:
    assert classify(tmp_path, None, None, "", {}, [])[0] == "planned"
    assert state(tmp_path, "PENDING") == "pending"
    assert state(tmp_path) == "vanished"
    # A job that fails after its run has finished does not matter.
    assert state(tmp_path, "NODE_FAIL", state="finished") == "finished"


def test_attempts_replace_missing_accounting(tmp_path: Path) -> None:
    attempt(tmp_path, "preempted", 75, slurm_state="CANCELLED")
    assert state(tmp_path) == "cancelled"
    write_marker(tmp_path, EARLY_STOP, reason="ranks 3 of 3")
    assert state(tmp_path, "RUNNING") == "stopped"


def test_a_new_submission_supersedes_the_old_failure(tmp_path: Path) -> None:
    attempt(tmp_path, "failed", 1)
    newer = TaskRef(Submission("t2", "slurm", ([["run"]],), "submitted", "13"), 0)
    info = TaskInfo("PENDING", "Priority")
    result = classify(tmp_path, newer, info, "", {}, read_attempts(tmp_path))
    assert result == ("requeued", "Priority")


def test_a_run_that_waits_for_others_of_its_local_process_is_pending(tmp_path: Path) -> None:
    task = TaskRef(Submission("token", "local", ([["first"], ["run"]],), "submitted", "12"), 0)
    running = TaskInfo("RUNNING")
    waits = "waits for earlier runs of its process"
    assert classify(tmp_path, task, running, "", {}, []) == ("pending", waits)
    write_start(tmp_path, Attempt(job="7_0", token="earlier", time=time.time()))
    assert classify(tmp_path, task, running, "", {}, read_attempts(tmp_path)) == ("requeued", waits)
    attempt(tmp_path)
    assert classify(tmp_path, task, running, "", {}, read_attempts(tmp_path)) == ("running", "")


@pytest.mark.parametrize(
    ("status", "received", "expected"),
    [
        (0, [], "finished"),
        (75, ["SIGUSR2"], "preempted"),
        (3, [], "diverged"),
        (76, [], "hung"),
        (2, [], "failed"),
        (1, [], "failed"),
        (-9, [], "killed"),
        (-12, ["SIGUSR2"], "preempted"),
        (-9, ["SIGTERM"], "preempted"),
    ],
)
def test_outcome_of_exit_status(status: int, received: list[str], expected: str) -> None:
    assert outcome_of(status, received) == expected


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "out of GPU memory"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=12.0", "out of memory"),
        ("ModuleNotFoundError: No module named 'torch'", "import error"),
        ("gantrain: training.world_size: 4 ranks asked for, but 1 take part.", "world-size"),
        ("OSError: [Errno 28] No space left on device", "disk full"),
        (
            "RuntimeError: [../gloo/pair.cc] Connection closed by peer [127.0.0.1]",
            "lost connection",
        ),
        ("gantrain: data/bricks64: no such folder.", "error"),
        ("KeyError: 'x'", "error"),
    ],
)
def test_diagnosis_from_the_log(tmp_path: Path, log: str, cause: str) -> None:
    folder = tmp_path / "runs" / "run"
    attempt(folder, "failed", 1)
    (folder / "logs").mkdir()
    old = "--- job 11_0, start 1\nModuleNotFoundError: an older attempt\n"
    (folder / "logs" / "rank0.log").write_text(f"{old}--- job 12_0, start 1\n{log}\n")
    diagnosis = diagnose(tmp_path, RunState("run", "failed", job="12_0"))
    assert diagnosis.cause.startswith(cause)
    assert diagnosis.evidence in log
    assert diagnosis.advice


@pytest.mark.parametrize(
    ("outcome", "slurm", "cause"),
    [
        ("diverged", "", "divergence"),
        ("hung", "", "hang"),
        ("no-progress", "", "no progress between interruptions"),
        ("preempted", "", "interrupted"),
        ("killed", "", "killed by a signal"),
        (None, "NODE_FAIL", "node failure"),
        (None, "TIMEOUT", "time limit"),
        (None, "OUT_OF_MEMORY", "out of memory"),
        (None, "PREEMPTED", "preempted"),
        (None, "", "killed from outside"),
    ],
)
def test_diagnosis_from_attempts_and_slurm(
    tmp_path: Path, outcome: str | None, slurm: str, cause: str
) -> None:
    folder = tmp_path / "runs" / "run"
    attempt(folder, outcome, -9)
    diagnosis = diagnose(tmp_path, RunState("run", "failed", job="12_0", slurm=slurm))
    assert diagnosis.cause == cause


def test_truncated_line_of_attempts_is_skipped(tmp_path: Path) -> None:
    attempt(tmp_path, "preempted", 75, signals=["SIGUSR2"])
    with (tmp_path / "attempts.jsonl").open("a") as file:
        file.write(json.dumps({"event": "start"})[:-3])
    (only,) = read_attempts(tmp_path)
    assert only.outcome == "preempted"
    assert only.signals == ["SIGUSR2"]
    assert only.end is not None


@pytest.mark.parametrize(
    ("outcome", "slurm_state", "silence", "expected"),
    [
        (None, None, 5.0, "running"),  # Slurm has forgotten the job, the trainer lives
        (None, "NODE_FAIL", 5.0, "running"),
        (None, None, 3000.0, "vanished"),
        (None, "NODE_FAIL", 3000.0, "failed"),
        (None, "FAILED", 5.0, "failed"),  # Slurm has ended the processes of the step
        ("preempted", None, 5.0, "interrupted"),
        ("failed", None, 5.0, "failed"),
    ],
)
def test_a_fresh_heartbeat_is_a_running_trainer(
    tmp_path: Path, outcome: str | None, slurm_state: str | None, silence: float, expected: State
) -> None:
    attempt(tmp_path, outcome)
    info = TaskInfo(slurm_state) if slurm_state else None
    attempts = read_attempts(tmp_path)
    assert classify(tmp_path, TASK, info, "", {}, attempts, silence)[0] == expected


def test_an_attempt_of_another_clusters_job_of_the_same_number_is_not_this_ones(
    tmp_path: Path,
) -> None:
    attempt(tmp_path, "failed", 1)
    newer = TaskRef(Submission("t2", "slurm", ([["run"]],), "submitted", "12"), 0)
    attempts = read_attempts(tmp_path)
    assert classify(tmp_path, newer, TaskInfo("PENDING"), "", {}, attempts)[0] == "requeued"


def test_an_end_belongs_to_the_start_that_ended(tmp_path: Path) -> None:
    first = Attempt(job="12_0", token="token", time=1.0)
    second = Attempt(job="12_0", token="token", time=2.0, restart=1)
    write_start(tmp_path, first)
    write_start(tmp_path, second)
    write_end(tmp_path, "killed", -9, first)
    assert [a.outcome for a in read_attempts(tmp_path)] == ["killed", None]
    write_end(tmp_path, "preempted", 75)  # as version 0.1 wrote it: of the newest
    assert [a.outcome for a in read_attempts(tmp_path)] == ["killed", "preempted"]


def test_tasks_that_sacct_shows_in_one_line() -> None:
    assert expand_tasks("12_3") == ["12_3"]
    assert expand_tasks("12") == ["12"]
    assert expand_tasks("12_[3]") == ["12_3"]
    assert expand_tasks("12_[0,2-4,7%2]") == ["12_0", "12_2", "12_3", "12_4", "12_7"]
    assert expand_tasks("gantrain-a.b-0a_[0,2]") == ["gantrain-a.b-0a_0", "gantrain-a.b-0a_2"]
    assert expand_tasks("12_[0-6:3]") == ["12_0", "12_3", "12_6"]


def test_a_retry_after_no_progress_has_three_starts_again(tmp_path: Path) -> None:
    for expected in (False, False, True, False, False, True):
        attempt(tmp_path)
        assert makes_no_progress(tmp_path) == expected
        write_end(tmp_path, "no-progress" if expected else "preempted", 75)


@pytest.mark.parametrize(
    ("age", "started", "reason"),
    [
        (10, 9000, ""),
        (8000, 9000, "silent for 2 h 13 min, probably dead"),
        (8000, 100, ""),  # it was requeued, and opens its data
        (8000, 700, "silent for 12 min, probably dead"),
    ],
)
def test_a_run_whose_job_runs_may_be_silent(
    age: float, started: float, reason: str, tmp_path: Path
) -> None:
    folder, now = tmp_path / "runs" / "run", time.time()
    write_start(folder, Attempt(job="12_0", token="token", time=now - started))
    (folder / "status.json").write_text('{"state": "running"}')
    os.utime(folder / "status.json", (now - age, now - age))
    infos = TaskInfos({TASK.name: TaskInfo("RUNNING")})
    found = _state_of(tmp_path, StoredRun("run", {}), TASK, infos, now)
    assert (found.state, found.reason) == ("running", reason)
