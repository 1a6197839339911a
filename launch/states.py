"""The state of each run, from the ledger, Slurm, the trainer's status file and the attempts.

Where the run's own files have a final answer, it takes precedence: Slurm forgets jobs, may keep no
accounting, and has one state for all the runs of a job.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from gantrain.common.errors import UserError
from gantrain.common.files import file_system_time
from gantrain.runs.liveness import (
    ALIVE_SECONDS,
    last_heartbeat,
    seconds_since_heartbeat,
    silence_of,
)
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.records import Record, read_events, read_heartbeats, read_status
from launch import slurm
from launch.attempts import CANCEL, EARLY_STOP, Attempt, read_attempts, read_marker
from launch.ledger import Submission, TaskRef, latest_tasks, read_ledger
from launch.slurm import JobName, TaskInfo, TaskInfos
from launch.sweepdir import RUN_ID, RUNS, StoredRun, read_runs, run_dir
from launch.task_infos import info_of, why_unknown
from launch.throttle import ActiveArray

State = Literal[
    "planned",  # never submitted
    "pending",  # in the queue for the first time
    "requeued",  # in the queue, to resume
    "running",
    "finished",
    "stopped",  # by successive halving
    "cancelled",
    "interrupted",  # ended early without a failure; resumes when it is submitted again
    "failed",
    "vanished",  # submitted, but no source knows what became of it
    "damaged",  # its line in the list of runs is damaged, and so not even its id is known
]
SUBMITTABLE: tuple[State, ...] = ("planned", "interrupted")
ENDED_EARLY: tuple[State, ...] = ("failed", "vanished", "interrupted")
_WITHOUT_NODE = ("NODE_FAIL", "BOOT_FAIL")  # Slurm has lost the node, which may still be training


@dataclass(frozen=True)
class RunState:
    """The state of one run.

    reason: why, as one line for display. images, total: images seen so far, and in the whole run.
    job, token: the newest task's id, and its submission.
    slurm: that task's state, empty if Slurm does not know it. slurm_detail: the state with Slurm's
    reason, the exit code and the node, for display.
    outcome: of the newest attempt. heartbeat: Unix time of the last one, by the file system's
    clock. silence: seconds since then. flat: the run's config, empty if it is not known.
    training, quality: the diagnosis and the verdict in words; quality_evidence: the numbers behind
    that. Empty in runs of older versions.
    damage: files, lines and values of the run that are not valid; paths are relative to the sweep
    directory.
    """

    run: str
    state: State
    reason: str = ""
    images: int = 0
    total: int = 0
    job: str = ""
    token: str = ""
    slurm: str = ""
    slurm_detail: str = ""
    nodes: str = ""
    outcome: str = ""
    attempts: int = 0
    heartbeat: float | None = None
    silence: float | None = None
    training: str = ""
    quality: str = ""
    quality_evidence: str = ""
    flat: dict[str, Any] = field(default_factory=dict, repr=False)
    damage: tuple[str, ...] = ()


@dataclass(frozen=True)
class SweepStatus:
    """The states of all runs of a sweep.

    slurm_error: why the query to Slurm failed, empty if it did not. cluster: the one that was
    asked, empty if none was. damage: of the ledger.
    """

    runs: list[RunState]
    submissions: list[Submission]
    slurm_error: str = ""
    cluster: str = ""
    damage: tuple[str, ...] = ()


def read_sweep_status(sweep_dir: Path) -> SweepStatus:
    """Return the state of every run of a sweep, with a fixed number of calls to Slurm."""
    damage: list[str] = []
    submissions = read_ledger(sweep_dir, damage)
    tasks = latest_tasks(submissions)
    queried = [s for s in submissions if s.executor == "slurm" and s.status != "abandoned"]
    infos = slurm.query_jobs(JobName(s.job, s.job_name, s.cluster) for s in queried)
    stored = with_lost_runs(read_runs(sweep_dir), tasks)
    now = file_system_time(sweep_dir)
    runs = [_state_of(sweep_dir, run, tasks.get(run.id), infos, now) for run in stored]
    found = relative_to(sweep_dir, damage)
    return SweepStatus(runs, submissions, infos.error, infos.cluster, found)


def with_lost_runs(stored: Sequence[StoredRun], submitted: Collection[str]) -> list[StoredRun]:
    """Return the stored runs; those that only the ledger knows take the place of damaged lines."""
    known = {run.id for run in stored}
    lost = [run for run in submitted if run not in known and RUN_ID.fullmatch(run)]
    lost.reverse()
    runs = [replace(run, id=lost.pop()) if not run.id and lost else run for run in stored]
    return runs + [
        StoredRun(run, {}, f"{RUNS}: has no line for this run") for run in reversed(lost)
    ]


def active_arrays(status: SweepStatus, throttle: int) -> list[ActiveArray]:
    """Return the sweep's jobs that run or will run, oldest first.

    throttle: the limit of arrays of version 0.1, each of which waits for the one before it.
    """
    tasks: dict[str, set[str]] = {}
    for run in status.runs:
        if TaskInfo(run.slurm).active:
            tasks.setdefault(run.token, set()).add(run.job)
    arrays: list[ActiveArray] = []
    for submission in status.submissions:
        if submission.token not in tasks:
            continue
        after, limit = submission.after, submission.limit
        if not limit:
            after, limit = (arrays[-1].job if arrays else ""), throttle
        arrays.append(ActiveArray(submission.job, len(tasks[submission.token]), limit, after))
    return arrays


def select_runs(runs: Sequence[RunState], prefixes: Sequence[str] | None) -> list[RunState]:
    """Return the runs whose ids start with these prefixes; without prefixes, all runs.

    Raises UserError for a prefix that matches no run or several.
    """
    if not prefixes:
        return list(runs)
    selected = []
    for prefix in prefixes:
        matches = [run for run in runs if run.run.startswith(prefix)]
        if len(matches) != 1:
            count = "no run" if not matches else f"{len(matches)} runs"
            raise UserError(
                f"run {prefix!r}: matches {count} of the sweep; `gantrain launch status` lists "
                "them."
            )
        selected.append(matches[0])
    return selected


def classify(
    folder: Path,
    task: TaskRef | None,
    info: TaskInfo | None,
    slurm_error: str,
    status: Record,
    attempts: Sequence[Attempt],
    silence: float | None = None,
) -> tuple[State, str]:
    """Return a run's state and the reason for it.

    task: the run's newest submission, None without one. info: None if Slurm does not know the task.
    slurm_error: why that says nothing. status: the trainer's status file. attempts: oldest first.
    silence: seconds since the last heartbeat, None without one.
    """
    if status.get("state") == "finished":
        return "finished", ""
    if (marker := read_marker(folder, EARLY_STOP)) is not None:
        return "stopped", marker.get("reason", "")
    if (marker := read_marker(folder, CANCEL)) is not None:
        return "cancelled", marker.get("reason", "")
    if task is None:
        return "planned", ""
    last = attempts[-1] if attempts else None
    # Not by the job's number, which another cluster may have given as well.
    current = last if last is not None and last.token == task.submission.token else None
    outcome = current.outcome if current else None
    # One run of a pack may have failed while its job continues with the others.
    if outcome not in (None, "preempted"):
        return _state_after_end(outcome, status)
    if info is not None and info.active:
        if task.submission.executor != "slurm" and current is None:
            # Its process trains the runs of its packs one after another, and this one has to wait.
            waiting: State = "requeued" if attempts else "pending"
            return waiting, "waits for earlier runs of its process"
        return _state_in_queue(info, bool(attempts))
    alive = (
        silence is not None and silence < ALIVE_SECONDS and (last is None or last.outcome is None)
    )
    if info is None and slurm_error:
        state: State = "running" if alive or (current and outcome is None) else "pending"
        return state, f"not known to Slurm: {slurm_error}"
    if alive and (info is None or info.state in _WITHOUT_NODE):
        known = f"is {info.state}" if info else "is not known to Slurm"
        return "running", f"the job {known}, but the last heartbeat is {silence:.0f} s old"
    return _state_without_job(info, status, current)


def _state_of(
    sweep_dir: Path, run: StoredRun, task: TaskRef | None, infos: TaskInfos, now: float
) -> RunState:
    damage = [run.problem] if run.problem else []
    if not run.id:
        (problem,) = relative_to(sweep_dir, damage)
        return RunState(problem.split(": ")[0], "damaged", damage=(problem,))
    folder = run_dir(sweep_dir, run.id)
    status = read_status(folder, damage)
    attempts = read_attempts(folder, damage) if task is not None else []
    for name in (EARLY_STOP, CANCEL):
        read_marker(folder, name, damage)
    info = info_of(sweep_dir, task, infos)
    last = attempts[-1] if attempts else None
    silence = seconds_since_heartbeat(folder, now)
    error = infos.error or why_unknown(task, infos)
    state, reason = classify(folder, task, info, error, status, attempts, silence)
    if state == "running" and last is not None and last.end is None:
        silent = silence_of(folder, status, now=now, started=last.time)
        reason = "; ".join(filter(None, [silent.words if silent else "", reason]))
    read_heartbeats(folder, damage)
    total = run.flat["training.total_kimg"] if run.flat else 0
    return RunState(
        run=run.id,
        state=state,
        reason=reason,
        images=status.get("images_seen", 0),
        total=status.get("total_images") or round(total * 1000),
        job=task.job if task else "",
        token=task.submission.token if task else "",
        slurm=info.state if info else "",
        slurm_detail=_describe(info),
        nodes=(info.nodes if info else "") or (last.host if last else ""),
        outcome=(last.outcome or "") if last else "",
        attempts=len(attempts),
        heartbeat=last_heartbeat(folder) if status else None,
        silence=silence if status else None,
        training=status.get("training", ""),
        quality=status.get("quality", ""),
        quality_evidence=status.get("quality_evidence", ""),
        flat=run.flat,
        damage=relative_to(sweep_dir, damage),
    )


def _describe(info: TaskInfo | None) -> str:
    if info is None:
        return ""
    parts = [info.state, info.reason if info.reason not in ("", "None") else ""]
    parts.append(f"exit code {info.exit_code}" if info.exit_code not in ("", "0:0") else "")
    parts.append(f"on {info.nodes}" if info.nodes and "None" not in info.nodes else "")
    return ", ".join(filter(None, parts))


def relative_to(sweep_dir: Path, damage: Sequence[str]) -> tuple[str, ...]:
    """Return the problems with paths relative to the sweep directory, each once."""
    return tuple(dict.fromkeys(problem.removeprefix(f"{sweep_dir}/") for problem in damage))


def with_damaged_metrics(sweep_dir: Path, runs: Sequence[RunState]) -> list[RunState]:
    """Return the runs with the damage of their metrics and events added.

    Reads all of these files, which takes seconds for hundreds of long runs.
    """
    checked = []
    for run in runs:
        damage: list[str] = []
        if run.state != "damaged":
            folder = run_dir(sweep_dir, run.run)
            read_metrics(folder, damage)
            read_events(folder, damage)
        checked.append(replace(run, damage=(*run.damage, *relative_to(sweep_dir, damage))))
    return checked


def _state_after_end(outcome: str | None, status: Record) -> tuple[State, str]:
    if outcome == "cancelled":
        return "cancelled", ""
    if outcome == "stopped":
        return "stopped", ""
    if outcome == "no-progress":
        return "failed", "interrupted three times without reaching a new checkpoint"
    reason = str(status.get("reason", "")).split("\n")[0]
    return "failed", reason or f"the trainer {outcome}"


def _state_in_queue(info: TaskInfo, started_before: bool) -> tuple[State, str]:
    if info.state in ("RUNNING", "COMPLETING"):
        return "running", ""
    return ("requeued" if started_before else "pending"), info.reason


def _state_without_job(
    info: TaskInfo | None, status: Record, current: Attempt | None
) -> tuple[State, str]:
    slurm_state = info.state if info else ""
    if current is not None and current.outcome == "preempted":
        if "CANCELLED" in (slurm_state, current.slurm_state):
            return "cancelled", "scancel"
        return "interrupted", "a checkpoint is saved; submit the sweep again to resume"
    match slurm_state:
        case "CANCELLED":
            return "cancelled", "scancel"
        case "TIMEOUT" | "DEADLINE":
            return "interrupted", "time limit, without a signal before it"
        case "PREEMPTED":
            return "interrupted", "preempted, and not requeued by the cluster"
        case "NODE_FAIL" | "BOOT_FAIL":
            return "failed", "a node failed, and the cluster did not requeue the job"
        case "OUT_OF_MEMORY":
            return "failed", "the job exceeded its memory limit"
        case "FAILED" | "COMPLETED":
            return "failed", str(status.get("reason", "")) or "the job ended before the run did"
        case _:
            return "vanished", "submitted, but neither running nor ended"
