"""The process inside a job, one per rank: `… launch.worker SWEEP_DIR TOKEN INDEX [PORT]`.

INDEX is the array task's; PORT is where rank 0 listens for the others.

It starts the trainer as a child process for each run of its pack, forwards signals, stops runs that
were cancelled or that halving ends, records how each run ended, and requeues the job if a run was
interrupted. It imports no torch, so that it is small and soon ready to receive signals.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gantrain.common.errors import REQUEUE_STATUS, UserError
from gantrain.common.files import write_json
from gantrain.common.logs import configure_logging
from gantrain.runs.paths import list_checkpoints
from gantrain.runs.records import read_json, read_metrics, read_status
from launch import bootstrap, slurm
from launch.attempts import (
    CANCEL,
    EARLY_STOP,
    Attempt,
    Outcome,
    read_attempts,
    write_end,
    write_marker,
    write_start,
)
from launch.environment import without_other_ranks
from launch.halving import decide
from launch.outcomes import outcome_of
from launch.ranks import RankInfo, distributed_environment, read_rank_info
from launch.sweepdir import STARTED, TASKS, config_file, job_dir, run_dir
from launch.sweepfile import EarlyStop

logger = logging.getLogger("launch.worker")  # as a script its __name__ is __main__

_POLL = 0.25  # seconds
_HALVING_POLL = 2.0
_CANCEL_GRACE = 60.0  # seconds to save a checkpoint before a run that must stop is killed
_OTHER_RANKS_GRACE = 10.0
_NOT_FAILURES = ("finished", "preempted", "stopped", "cancelled")
_MAX_STARTS_WITHOUT_PROGRESS = 3  # from the same checkpoint

received: set[str] = set()  # names of the signals so far


@dataclass
class RunProcess:
    """One run of the pack and its trainer process; times are of time.monotonic()."""

    run: str
    folder: Path
    process: subprocess.Popen[bytes]
    stop_requested_at: float | None = None
    stop_outcome: Outcome | None = None
    compared_at: float = 0.0
    outcome: Outcome | None = None


@dataclass
class WorkerJob:
    """The work of this process: the packs of one array task."""

    sweep_dir: Path
    token: str
    rank_info: RankInfo
    packs: list[list[str]]
    cwd: str
    early_stop: EarlyStop | None
    running: list[RunProcess] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train this job's runs; return the exit status, 0 if nothing failed."""
    configure_logging()
    try:
        job = _read_job(sys.argv[1:] if arguments is None else arguments)
    except UserError as error:
        print(f"launch.worker: {error}", file=sys.stderr)
        return error.exit_status
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
        if not _is_done(folder, job.rank_info.job):
            job.running.append(_start(job, run, folder, len(pack)))
    while any(each.outcome is None for each in job.running):
        for each in job.running:
            if each.outcome is None:
                _check(job, each)
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
    return max((abs(each.process.returncode) or 1 for each in failed), default=0)


def _read_job(arguments: Sequence[str]) -> WorkerJob:
    sweep_dir, token, index, port = (*arguments, "", "", "", "")[:4]
    path = job_dir(Path(sweep_dir), token) / TASKS
    content = read_json(path)
    if content is None:
        raise UserError(f"{path}: cannot be read, so this job has no runs; nothing was trained.")
    packs: list[list[list[str]]] = content["elements"]
    if not index.isdecimal() or int(index) >= len(packs):
        raise UserError(
            f"index {index!r} in submission {token}: expected a number below {len(packs)}, Slurm's "
            "SLURM_ARRAY_TASK_ID, to know which runs are this job's; nothing was trained."
        )
    settings: dict[str, Any] = content["worker"]
    rule = settings.get("early_stop")
    return WorkerJob(
        sweep_dir=Path(sweep_dir),
        token=token,
        rank_info=read_rank_info(settings["executor"], int(index), int(port or 0)),
        packs=packs[int(index)],
        cwd=settings["cwd"],
        early_stop=EarlyStop.model_validate(rule) if rule else None,
    )


def _is_done(folder: Path, job: str) -> bool:
    # A requeued job must not repeat the runs that it has already brought to an end.
    if read_status(folder).get("state") == "finished":
        return True
    if any(read_json(folder / marker) for marker in (CANCEL, EARLY_STOP)):
        return True
    attempts = read_attempts(folder)
    if not attempts or attempts[-1].job != job:
        return False
    return attempts[-1].outcome not in (None, "preempted")


def _start(job: WorkerJob, run: str, folder: Path, pack_size: int) -> RunProcess:
    info = job.rank_info
    if info.rank == 0:
        attempt = Attempt(
            job=info.job,
            token=job.token,
            time=time.time(),
            images=_newest_checkpoint(folder),
            restart=info.restart,
            host=os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        )
        write_start(folder, attempt)
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    # Appended, so that a run that resumes in another job has one log per rank.
    with (logs / f"rank{info.rank}.log").open("ab") as log:
        log.write(f"--- job {info.job}, start {info.restart + 1}\n".encode())
        log.flush()
        process = subprocess.Popen(
            bootstrap.command(
                Path(__file__).parents[1],
                "gantrain.train",
                *("--config", str(config_file(job.sweep_dir, run).absolute())),
            ),
            cwd=job.cwd,
            env=_trainer_environment(info, pack_size),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return RunProcess(run, folder, process)


def _trainer_environment(info: RankInfo, pack_size: int) -> dict[str, str]:
    environment = without_other_ranks(os.environ) | distributed_environment(info)
    environment["PYTHONUNBUFFERED"] = "1"
    cpus = int(os.environ.get("SLURM_CPUS_PER_TASK", "0") or 0)
    if cpus:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cpus // pack_size)))
    if info.under_slurm and info.local_world_size > 1:
        environment.setdefault("NCCL_ASYNC_ERROR_HANDLING", "1")
    return environment


def _check(job: WorkerJob, each: RunProcess) -> None:
    status = each.process.poll()
    if status is None:
        _stop_if_requested(job, each)
        return
    outcome = each.stop_outcome or outcome_of(status, received)
    if outcome == "preempted" and _makes_no_progress(each.folder):
        outcome = "no-progress"
    each.outcome = outcome
    info = job.rank_info
    if info.rank == 0:
        slurm_state = _slurm_state(info) if received else ""
        write_end(each.folder, outcome, status, signals=sorted(received), slurm_state=slurm_state)
    elif outcome == "failed":
        line = {"rank": info.rank, "exit": status, "host": socket.gethostname()}
        write_json(each.folder / "logs" / f"rank{info.rank}-failed.json", line)


def _stop_if_requested(job: WorkerJob, each: RunProcess) -> None:
    now = time.monotonic()
    if each.stop_requested_at is not None:
        if now - each.stop_requested_at > _CANCEL_GRACE:
            each.process.kill()
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
        each.process.send_signal(signal.SIGTERM)


def _must_stop_early(folder: Path, rule: EarlyStop) -> bool:
    total = read_status(folder).get("total_images", 0)
    verdict = decide(folder, read_metrics(folder), rule, total)
    if verdict is None:
        return False
    reason = verdict.describe(rule.metric)
    write_marker(folder, EARLY_STOP, reason=reason, metric=rule.metric, **verdict.__dict__)
    return True


def _makes_no_progress(folder: Path) -> bool:
    # A run that never reaches a checkpoint would use up time forever without an error.
    preempted = [a for a in read_attempts(folder) if a.outcome == "preempted"]
    earlier = [a.images for a in preempted[-_MAX_STARTS_WITHOUT_PROGRESS + 1 :]]
    newest = _newest_checkpoint(folder)
    return len(earlier) == _MAX_STARTS_WITHOUT_PROGRESS - 1 and all(
        images == newest for images in earlier
    )


def _newest_checkpoint(folder: Path) -> int:
    return next((images for images, _ in list_checkpoints(folder)), 0)


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
        return slurm.job_state(info.job)
    except UserError:
        return ""


def _on_signal(job: WorkerJob, number: int) -> None:
    received.add(signal.Signals(number).name)
    # Slurm signals every process of a step; without Slurm the child needs the signal forwarded.
    if not job.rank_info.under_slurm and number != signal.SIGCONT:
        for each in job.running:
            if each.process.poll() is None:
                each.process.send_signal(number)


if __name__ == "__main__":
    sys.exit(main())
