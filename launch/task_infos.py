"""What Slurm, or this machine, knows of a submitted task, apart from the files of its runs."""

import os
import socket
from pathlib import Path

from gantrain.common.command_line import command_of
from launch.ledger import Submission, TaskRef, user_name
from launch.local_job import is_job
from launch.slurm import TaskInfo, TaskInfos
from launch.sweepdir import job_dir


def why_unknown(task: TaskRef | None, infos: TaskInfos) -> str:
    """Return why an unknown job says nothing; empty if this machine would know it."""
    if task is None:
        return ""
    submission = task.submission
    if submission.executor != "slurm":
        host = submission.cluster or socket.gethostname()
        return "" if host == socket.gethostname() else f"the job was started on {host}"
    if _is_elsewhere(submission, infos):
        return f"the job is on cluster {submission.cluster}, and this is {infos.cluster}"
    if submission.controller and infos.controller not in ("", submission.controller):
        return f"the job's controller is {submission.controller}, and this is {infos.controller}"
    if infos.private and submission.user not in ("", user_name()):
        return f"the cluster shows jobs of {submission.user} to that user only"
    return ""


def _is_elsewhere(submission: Submission, infos: TaskInfos) -> bool:
    return bool(submission.cluster and infos.cluster) and submission.cluster != infos.cluster


def info_of(sweep_dir: Path, task: TaskRef | None, infos: TaskInfos) -> TaskInfo | None:
    """Return what Slurm, or this machine's list of processes, says of a task; None if nothing."""
    if task is None or task.submission.status != "submitted":
        return None
    if task.submission.executor == "slurm":
        info = infos.tasks.get(task.name)
        removed = info is None and _was_removed(sweep_dir, task, infos)
        return TaskInfo("CANCELLED") if removed else info
    return TaskInfo("RUNNING") if _is_running(task.submission) else None


def _was_removed(sweep_dir: Path, task: TaskRef, infos: TaskInfos) -> bool:
    # Slurm keeps no record of a task that was cancelled while it waited, if others of its array
    # remain. One that has started has a log.
    folder = job_dir(sweep_dir, task.submission.token)
    logs = (folder / f"{task.job}_0_log.{name}" for name in ("out", "err"))
    return task.submission.job_name in infos.names and not any(path.exists() for path in logs)


def _is_running(submission: Submission) -> bool:
    if submission.executor == "debug":
        return False
    if not Path("/proc").is_dir():
        return _process_exists(submission.job)
    job = submission.job
    return job.isdecimal() and is_job(command_of(int(job)), submission.token)


def _process_exists(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (OSError, ValueError):
        return False
    return True
