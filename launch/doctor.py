"""Find out why runs ended early or cannot start, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gantrain.runs.records import read_status
from launch.advice import Files, read_files, write_advice
from launch.attempts import read_attempts
from launch.causes import (
    Finding,
    find_in_attempt,
    find_in_log,
    find_in_outcome,
    find_in_queue,
    find_in_slurm,
    find_in_status,
)
from launch.job_logs import job_logs, rank_logs
from launch.states import ENDED_EARLY, RunState, with_damaged_metrics
from launch.sweepdir import run_dir

_LINES = 8  # of a log that are shown
_MAX_EVIDENCE = 200  # characters
_REPAIR = (
    "everything else of the run is used; repair or remove the line. A line of runs.jsonl is added "
    "again by {sweep}"
)


@dataclass(frozen=True)
class Diagnosis:
    """Why one run ended early or cannot start: the cause, the line that shows it, and advice.

    slurm: the job's state as Slurm gives it. log: the job's own log if the worker did not start or
    did not end, else the run's. lines: its last lines. damage: damaged files of the run.
    """

    run: str
    job: str
    cause: str
    evidence: str
    advice: str
    slurm: str = ""
    log: Path | None = None
    lines: list[str] = field(default_factory=list)
    damage: tuple[str, ...] = ()


def diagnose_runs(sweep_dir: Path, runs: Sequence[RunState]) -> list[Diagnosis]:
    """Return a diagnosis for each run that ended early, cannot start or has damaged files."""
    files = read_files(sweep_dir)
    return [
        diagnose(sweep_dir, run, files)
        for run in with_damaged_metrics(sweep_dir, runs)
        if run.state in ENDED_EARLY or run.damage or find_in_queue(run)
    ]


def diagnose(sweep_dir: Path, run: RunState, files: Files | None = None) -> Diagnosis:
    """Return why this run ended early, from the most reliable source that has an answer.

    files: what the sweep was launched from, None to look it up.
    """
    attempts = read_attempts(run_dir(sweep_dir, run.run))
    last = attempts[-1] if attempts and attempts[-1].job == run.job else None
    ranks = rank_logs(sweep_dir, run.run, run.job)
    # The job's own log has the reason if the worker did not start, or did not live to record it.
    own = job_logs(sweep_dir, run.job, run.token) if last is None or last.end is None else []
    shown = next(iter([*own, *ranks]), None)
    lines = shown.last_lines(_LINES) if shown else []
    if run.state in ENDED_EARLY:
        status = read_status(run_dir(sweep_dir, run.run)) if attempts else {}
        reason = str(status.get("reason", "")) if last else ""
        log = "\n".join(each.text for each in ranks)
        finding = (
            (find_in_outcome(run, last, str(status.get("state", "")), reason) if last else None)
            or find_in_log("\n".join([log, *(each.text for each in own)]))
            or find_in_slurm(run)
            or find_in_attempt(last, len(attempts))
            or find_in_status(run, last, reason, log, lines if own else [])
        )
    else:
        waiting = find_in_queue(run)
        finding = waiting or Finding("damaged files", run.damage[0], _REPAIR)
    files = files or read_files(sweep_dir)
    return Diagnosis(
        run.run,
        run.job,
        finding.cause,
        " ".join(finding.evidence.split())[:_MAX_EVIDENCE],
        write_advice(finding.advice, files, run, run.flat),
        slurm=run.slurm_detail,
        log=shown.path if shown else None,
        lines=lines if own else [],
        damage=run.damage,
    )
