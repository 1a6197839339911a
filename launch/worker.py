"""The process inside a job, one per rank: `… launch.worker SWEEP_DIR TOKEN INDEX [PORT]`.

INDEX is the array task's; PORT is where rank 0 listens for the others.

It starts the trainer as a child process for each run of its pack, forwards signals, stops runs that
were cancelled or that halving ends, records how each run ended, and requeues the job if a run was
interrupted. It imports no torch, so that it is small and soon ready to receive signals.
"""

import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gantrain.common.access import explain, follow_group_access
from gantrain.common.errors import REQUEUE_STATUS, USER_ERROR_STATUS, UserError
from gantrain.common.files import write_json
from gantrain.common.logs import configure_logging
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.records import read_json, read_status
from launch import slurm
from launch.attempts import (
    CANCEL,
    EARLY_STOP,
    Outcome,
    read_attempts,
    write_end,
    write_marker,
)
from launch.halving import decide
from launch.outcomes import outcome_of
from launch.ranks import RankInfo
from launch.sweepdir import STARTED, job_dir, run_dir
from launch.sweepfile import EarlyStop
from launch.trainer_process import is_done, newest_checkpoint, start_if_free
from launch.worker_job import RunProcess, WorkerJob, read_job

logger = logging.getLogger("launch.worker")  # as a script its __name__ is __main__

_POLL = 0.25  # seconds
_HALVING_POLL = 2.0
_CANCEL_GRACE = 60.0  # seconds to save a checkpoint before a run that must stop is killed
_OTHER_RANKS_GRACE = 10.0
_NOT_FAILURES = ("finished", "preempted", "stopped", "cancelled")
_MAX_STARTS_WITHOUT_PROGRESS = 3  # from the same checkpoint

received: set[str] = set()  # names of the signals so far


def main(arguments: Sequence[str] | None = None) -> int:
    """Train this job's runs; return the exit status, 0 if nothing failed."""
    configure_logging()
    try:
        job = read_job(sys.argv[1:] if arguments is None else arguments)
    except UserError as error:
        print(f"launch.worker: {error}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"launch.worker: {explain(error)}", file=sys.stderr)
        return USER_ERROR_STATUS
    follow_group_access(job.sweep_dir)
    if job.rank_info.rank == 0:
        index = job.rank_info.index
        started = {"job": job.rank_info.job.rsplit("_", 1)[0], "index": index}
        write_json(job_dir(job.sweep_dir, job.token) / f"{STARTED}-{index}.json", started)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT):
        signal.signal(number, lambda n, _: _on_signal(job, n))
    worst = 0
    for pack in job.packs:
        worst = max(worst, run_pack(job, pack))
        if received - {"SIGCONT"}:
            break
    return worst


def run_pack(job: WorkerJob, pack: Sequence[str]) -> int:
    """Train the runs of a pack side by side until all have ended; return the worst exit status."""
    job.running = []
    for run in pack:
        folder = run_dir(job.sweep_dir, run)
        if not is_done(folder, job.token):
            job.running.append(RunProcess(run, folder, time.monotonic()))
    while any(each.outcome is None for each in job.running):
        for each in job.running:
            if each.outcome is not None:
                continue
            if each.process is None:
                start_if_free(job, each, len(pack), interrupted=bool(received - {"SIGCONT"}))
            else:
                _check(job, each, each.process)
        time.sleep(_POLL)
    interrupted = [each for each in job.running if each.outcome == "preempted"]
    failed = [each for each in job.running if each.outcome not in _NOT_FAILURES]
    if interrupted and job.rank_info.under_slurm:
        return _requeue(job.rank_info)
    if interrupted:
        return REQUEUE_STATUS
    if failed and job.rank_info.rank:
        # Slurm ends the step with the first rank that fails; rank 0 has yet to record why.
        time.sleep(_OTHER_RANKS_GRACE)
    statuses = [each.process.returncode for each in failed if each.process is not None]
    return max((abs(status) or 1 for status in statuses), default=0)


def _check(job: WorkerJob, each: RunProcess, process: subprocess.Popen[bytes]) -> None:
    status = process.poll()
    if status is None:
        _stop_if_requested(job, each, process)
        return
    outcome = each.stop_outcome or outcome_of(status, received)
    if outcome == "preempted" and makes_no_progress(each.folder):
        outcome = "no-progress"
    each.outcome = outcome
    info = job.rank_info
    if info.rank == 0:
        slurm_state = _slurm_state(info) if received else ""
        details = {"signals": sorted(received), "slurm_state": slurm_state}
        write_end(each.folder, outcome, status, each.attempt, **details)
    elif outcome == "failed":
        line = {"rank": info.rank, "exit": status, "host": socket.gethostname()}
        write_json(each.folder / "logs" / f"rank{info.rank}-failed.json", line)


def _stop_if_requested(job: WorkerJob, each: RunProcess, process: subprocess.Popen[bytes]) -> None:
    now = time.monotonic()
    if each.stop_requested_at is not None:
        if now - each.stop_requested_at > _CANCEL_GRACE:
            process.kill()
        return
    outcome: Outcome | None = None
    if read_json(each.folder / CANCEL):
        outcome = "cancelled"
    elif read_json(each.folder / EARLY_STOP):
        outcome = "stopped"
    elif job.early_stop and job.rank_info.rank == 0 and now - each.compared_at > _HALVING_POLL:
        each.compared_at = now
        outcome = "stopped" if _must_stop_early(each.folder, job.early_stop) else None
    if outcome is not None:
        each.stop_outcome, each.stop_requested_at = outcome, now
        process.send_signal(signal.SIGTERM)


def _must_stop_early(folder: Path, rule: EarlyStop) -> bool:
    total = read_status(folder).get("total_images", 0)
    verdict = decide(folder, read_metrics(folder), rule, total)
    if verdict is None:
        return False
    reason = verdict.describe(rule.metric)
    write_marker(folder, EARLY_STOP, reason=reason, metric=rule.metric, **verdict.to_json())
    return True


def makes_no_progress(folder: Path) -> bool:
    """Return whether a run that was interrupted now was so three times at the same checkpoint."""
    # A run that never reaches a checkpoint would use up time forever without an error.
    attempts = read_attempts(folder)
    failures = [i for i, attempt in enumerate(attempts) if attempt.outcome == "no-progress"]
    # A retry after such an error, perhaps with more time, starts counting again.
    attempts = attempts[failures[-1] + 1 :] if failures else attempts
    preempted = [a for a in attempts if a.outcome == "preempted"]
    earlier = [a.images for a in preempted[-_MAX_STARTS_WITHOUT_PROGRESS + 1 :]]
    newest = newest_checkpoint(folder)
    return len(earlier) == _MAX_STARTS_WITHOUT_PROGRESS - 1 and all(
        images == newest for images in earlier
    )


def _requeue(info: RankInfo) -> int:
    if info.rank:
        return 0  # a failure would end the step before rank 0 has requested the requeue
    # Slurm requeues a preempted job by itself; a cancelled job must not come back.
    if _slurm_state(info) == "RUNNING":
        received.clear()
        try:
            slurm.run_command(["scontrol", "requeue", info.job])
        except UserError as error:
            logger.error(f"launch: not requeued: {error}")
            return REQUEUE_STATUS
        _wait_for_the_end()
    return REQUEUE_STATUS


def _wait_for_the_end() -> None:
    # Slurm would count the job as failed if it ended before Slurm acted on the requeue.
    deadline = time.monotonic() + _CANCEL_GRACE
    while "SIGTERM" not in received and time.monotonic() < deadline:
        time.sleep(_POLL)


def _slurm_state(info: RankInfo) -> str:
    if not info.under_slurm:
        return ""
    try:
        return slurm.job_state(info.job, info.restart)
    except UserError:
        return ""


def _on_signal(job: WorkerJob, number: int) -> None:
    received.add(signal.Signals(number).name)
    # Slurm signals every process of a step; without Slurm the child needs the signal forwarded.
    if not job.rank_info.under_slurm and number != signal.SIGCONT:
        for each in job.running:
            if each.process is not None and each.process.poll() is None:
                each.process.send_signal(number)


if __name__ == "__main__":
    sys.exit(main())
