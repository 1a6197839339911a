"""One state for each run, from the ledger, Slurm, the trainer's status file and the worker's notes.

The run's own files come first where they say something final: Slurm forgets jobs, its accounts may
not exist, and a job of several runs has one state for all of them.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from launch import attempts, slurm
from launch.attempts import Attempt
from launch.ledger import Place, Submission, latest_places, read_ledger
from launch.slurm import Facts, JobFact
from launch.sweepdir import KnownRun, read_runs, run_dir

State = Literal[
    "planned",  # never submitted
    "pending",  # in the queue for the first time
    "requeued",  # in the queue, to go on
    "running",
    "finished",
    "stopped",  # by successive halving
    "cancelled",
    "interrupted",  # ended before its end without a failure; goes on when launched again
    "failed",
    "vanished",  # was submitted, and nobody knows what became of it
]
OVER: tuple[State, ...] = ("finished", "stopped", "cancelled")
TO_SUBMIT: tuple[State, ...] = ("planned", "interrupted")
DEAD: tuple[State, ...] = ("failed", "vanished", "interrupted")
_SILENT_SECONDS = 600


@dataclass(frozen=True)
class RunState:
    """How a run stands."""

    run: str
    state: State
    reason: str = ""
    images: int = 0
    total: int = 0
    job: str = ""
    slurm: str = ""
    nodes: str = ""
    outcome: str = ""
    attempts: int = 0
    heartbeat: float | None = None
    flat: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Standing:
    """A whole sweep."""

    runs: list[RunState]
    submissions: list[Submission]
    trouble: str = ""  # why Slurm could not be asked
    accounting: bool = True


def read_standing(sweep_dir: Path, *, ask_slurm: bool = True) -> Standing:
    """How every run of a sweep stands, with a fixed number of calls to Slurm."""
    submissions = read_ledger(sweep_dir)
    places = latest_places(submissions)
    asked = [
        s for s in submissions if s.executor == "slurm" and s.fate == "submitted" and ask_slurm
    ]
    facts = slurm.ask((s.job for s in asked), (s.user for s in asked))
    runs = [_state_of(sweep_dir, run, places.get(run.id), facts) for run in read_runs(sweep_dir)]
    return Standing(runs, submissions, facts.trouble, facts.accounting)


def alive_arrays(standing: Standing) -> list[str]:
    """Jobs of the sweep that Slurm still has plans for, oldest first."""
    alive = {r.job.rsplit("_", 1)[0] for r in standing.runs if slurm.JobFact(r.slurm).alive}
    return [s.job for s in standing.submissions if s.job in alive]


def _state_of(sweep_dir: Path, run: KnownRun, place: Place | None, facts: Facts) -> RunState:
    folder = run_dir(sweep_dir, run.id)
    status = attempts.read_status(folder)
    past = attempts.read_attempts(folder) if place is not None else []
    fact = _fact_of(place, facts)
    last = past[-1] if past else None
    state, reason = judge(folder, place, fact, facts.trouble, status, past)
    total = status.get("total_images") or round(run.flat["training.total_kimg"] * 1000)
    return RunState(
        run=run.id,
        state=state,
        reason=reason,
        images=status.get("images_seen", 0),
        total=total,
        job=place.job if place else "",
        slurm=fact.state if fact else "",
        nodes=(fact.nodes if fact else "") or (last.host if last else ""),
        outcome=(last.outcome or "") if last else "",
        attempts=len(past),
        heartbeat=attempts.heartbeat(folder) if status else None,
        flat=run.flat,
    )


def judge(
    folder: Path,
    place: Place | None,
    fact: JobFact | None,
    trouble: str,
    status: dict[str, Any],
    past: Sequence[Attempt],
) -> tuple[State, str]:
    """State and reason of one run. `fact` is None where Slurm does not know the job."""
    if status.get("state") == "finished":
        return "finished", ""
    for name, state in ((attempts.EARLY_STOP, "stopped"), (attempts.CANCEL, "cancelled")):
        mark = attempts.read_mark(folder, name)
        if mark is not None:
            return state, str(mark.get("reason", ""))  # type: ignore[return-value]
    if place is None:
        return "planned", ""
    last = past[-1] if past else None
    ours = last if last is not None and last.job == place.job else None
    ended = ours.outcome if ours else None
    # In a pack, one run may have failed while the job goes on with the others.
    if ended not in (None, "preempted") and not _about_to_start(fact, ours):
        return _ended(ended, status)
    if fact is not None and fact.alive:
        return _alive(fact, attempts.heartbeat(folder), ours, bool(past))
    if fact is None and trouble:
        return ("running" if ours and ended is None else "pending"), f"Slurm not asked: {trouble}"
    return _gone(fact, status, ours)


def _about_to_start(fact: JobFact | None, ours: Attempt | None) -> bool:
    return fact is not None and fact.state == "PENDING" and ours is None


def _ended(outcome: str | None, status: dict[str, Any]) -> tuple[State, str]:
    if outcome == "cancelled":
        return "cancelled", ""
    if outcome == "stopped":
        return "stopped", ""
    if outcome == "no-progress":
        return "failed", "interrupted three times without reaching a new checkpoint"
    reason = str(status.get("reason", "")).split("\n")[0]
    return "failed", reason or f"the trainer {outcome}"


def _alive(
    fact: JobFact, beat: float | None, ours: Attempt | None, before: bool
) -> tuple[State, str]:
    if fact.state in ("RUNNING", "COMPLETING"):
        silent = time.time() - beat if beat else 0
        if ours and ours.end is None and silent > _SILENT_SECONDS:
            return "running", f"no sign of life for {silent / 60:.0f} min"
        return "running", ""
    return ("requeued" if ours or before else "pending"), fact.reason


def _gone(fact: JobFact | None, status: dict[str, Any], ours: Attempt | None) -> tuple[State, str]:
    ended = ours.outcome if ours else None
    said = fact.state if fact else ""
    if ended == "preempted" and ours is not None:
        if "CANCELLED" in (said, ours.slurm_state):
            return "cancelled", "scancel"
        return "interrupted", "a checkpoint is written; launch the sweep again to go on"
    match said:
        case "CANCELLED":
            return "cancelled", "scancel"
        case "TIMEOUT" | "DEADLINE":
            return "interrupted", "time limit, without a signal before it"
        case "PREEMPTED":
            return "interrupted", "preempted, and the cluster did not queue it again"
        case "NODE_FAIL" | "BOOT_FAIL":
            return "failed", "a node failed, and the cluster did not queue the job again"
        case "OUT_OF_MEMORY":
            return "failed", "out of the memory that the job asked for"
        case "FAILED" | "COMPLETED":
            return "failed", str(status.get("reason", "")) or "the job ended before the run did"
        case _:
            return "vanished", "submitted, but neither running nor ended"


def _fact_of(place: Place | None, facts: Facts) -> JobFact | None:
    if place is None or place.submission.fate != "submitted":
        return None
    if place.submission.executor == "slurm":
        return facts.jobs.get(place.job)
    return JobFact("RUNNING") if _process_lives(place.submission) else None


def _process_lives(submission: Submission) -> bool:
    if submission.executor == "debug":
        return False
    try:
        command = Path(f"/proc/{submission.job}/cmdline").read_bytes()
    except OSError:
        return _pid_answers(submission.job) if not Path("/proc").is_dir() else False
    return b"submitit" in command


def _pid_answers(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (OSError, ValueError):
        return False
    return True
