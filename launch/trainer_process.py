"""Start the trainer of one run, once no earlier start of the run holds its directory."""

import os
import socket
import subprocess
import time
from pathlib import Path

from gantrain.common.files import append_text, file_system_time
from gantrain.runs.liveness import seconds_since_heartbeat
from gantrain.runs.paths import list_checkpoints
from gantrain.runs.records import read_json, read_status
from gantrain.runs.run_lock import lock_owner
from launch import bootstrap
from launch.attempts import CANCEL, EARLY_STOP, Attempt, read_attempts, write_start
from launch.environment import with_cores, without_other_ranks
from launch.ranks import distributed_environment
from launch.sweepdir import config_file
from launch.worker_job import RunProcess, WorkerJob

_LOCK_TIMEOUT = 120.0  # seconds; less than the other ranks wait for rank 0


def is_done(folder: Path, token: str) -> bool:
    """Return whether a run has ended, or the job of this submission has brought it to an end.

    A requeued job must not repeat such runs.
    """
    if read_status(folder).get("state") == "finished":
        return True
    if _must_end(folder):
        return True
    own = [attempt for attempt in read_attempts(folder) if attempt.token == token]
    return bool(own) and own[-1].outcome not in (None, "preempted")


def _must_end(folder: Path) -> bool:
    return any(read_json(folder / marker) for marker in (CANCEL, EARLY_STOP))


def start_if_free(job: WorkerJob, each: RunProcess, pack_size: int, *, interrupted: bool) -> None:
    """Start the trainer, unless an earlier start of the run holds its directory.

    That one lives on where Slurm has lost its node, or a file server keeps the lock of a dead one.
    After some minutes this job makes room for others and comes back later, which is no failure. It
    is never this start's own lock: rank 0 takes that after all ranks have met.

    interrupted: this job has to end.
    """
    owner = lock_owner(each.folder)
    waited = time.monotonic() - each.waiting_since
    if not owner:
        # Also if that one has finished the run: this start makes up for what its end may lack.
        _start(job, each, pack_size)
    elif _must_end(each.folder):
        each.outcome = "cancelled"
    elif interrupted:
        each.outcome = "preempted"
    elif not each.told_owner:
        _log(job, each.folder, f"waits for {owner}, which trains this run since an earlier start")
        each.told_owner = True
    elif waited > _LOCK_TIMEOUT * (2 if job.rank_info.rank else 1):
        if _is_alive(each.folder):
            each.outcome = "preempted"
        else:
            _start(job, each, pack_size)  # the trainer says what to do about the lock


def _is_alive(folder: Path) -> bool:
    silence = seconds_since_heartbeat(folder, file_system_time(folder))
    return silence is not None and silence < _LOCK_TIMEOUT


def _log(job: WorkerJob, folder: Path, text: str) -> None:
    info = job.rank_info
    log = folder / "logs" / f"rank{info.rank}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    append_text(log, f"--- job {info.job}, start {info.restart + 1}{text and ' '}{text}\n")


def _start(job: WorkerJob, each: RunProcess, pack_size: int) -> None:
    info, folder = job.rank_info, each.folder
    if info.rank == 0:
        each.attempt = Attempt(
            job=info.job,
            token=job.token,
            time=time.time(),
            images=newest_checkpoint(folder),
            restart=info.restart,
            host=os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        )
        write_start(folder, each.attempt)
    _log(job, folder, "")
    # Appended, so that a run that resumes in another job has one log per rank.
    with (folder / "logs" / f"rank{info.rank}.log").open("ab") as log:
        each.process = subprocess.Popen(
            bootstrap.command(
                Path(__file__).parents[1],
                "gantrain.train",
                *("--config", str(config_file(job.sweep_dir, each.run).absolute())),
            ),
            cwd=job.cwd,
            env=trainer_environment(job, pack_size),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def trainer_environment(job: WorkerJob, pack_size: int) -> dict[str, str]:
    """Return the environment of a trainer; it has its share of the job's cores."""
    info = job.rank_info
    environment = without_other_ranks(os.environ) | distributed_environment(info)
    environment["PYTHONUNBUFFERED"] = "1"
    ranks, cores = info.local_world_size, job.cores
    if info.under_slurm:  # without it, the variable is that of a job that the launcher is in
        ranks, cores = 1, int(os.environ.get("SLURM_CPUS_PER_TASK", "0") or 0)
    if cores:
        environment = with_cores(environment, max(1, cores // (ranks * pack_size)))
    if info.under_slurm and info.local_world_size > 1:
        environment.setdefault("NCCL_ASYNC_ERROR_HANDLING", "1")
    return environment


def newest_checkpoint(folder: Path) -> int:
    """Return the images seen at a run's newest checkpoint; 0 without one."""
    return next((images for images, _ in list_checkpoints(folder)), 0)
