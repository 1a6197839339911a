"""Submit jobs and record them in the ledger: arrays on Slurm, processes on this machine.

A job's command contains only the sweep's directory and the submission's token, so it works from the
moment at which sbatch accepts it, whatever happens to the launcher afterwards.
"""

import getpass
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.files import write_json
from gantrain.runs.records import read_json
from launch import ledger, slurm, submitit_adapter
from launch.cluster import Cluster
from launch.ledger import ArrayTask, Submission
from launch.sweepdir import STARTED, TASKS, job_dir
from launch.units import MAX_MINUTES

_LOCAL_START_TIMEOUT = 5.0  # seconds


@dataclass(frozen=True)
class JobSpec:
    """How the jobs of one launch are submitted.

    name: the sweep's, for the jobs' comment. code: the code snapshot that the jobs import.
    throttle: tasks that run at the same time. worker_settings: what the worker reads in addition
    to its tasks.
    """

    sweep_dir: Path
    name: str
    cluster: Cluster
    code: Path
    throttle: int
    worker_settings: dict[str, Any]


def submit_tasks(
    spec: JobSpec, tasks: Sequence[ArrayTask], lock: int, after: str | None
) -> list[Submission]:
    """Submit jobs for these tasks, and record each submission before and after it is made.

    On Slurm they become arrays of at most MaxArraySize tasks. Each array waits for the one before
    it (the first for the job `after`), so that one throttle covers all of them.

    lock: descriptor of the ledger's lock.

    Raises UserError with Slurm's message if it refuses an array; earlier arrays stay submitted.
    """
    if spec.cluster.executor != "slurm":
        workers = min(spec.cluster.workers, len(tasks))
        return [_submit_local(spec, tasks[i::workers]) for i in range(workers)]
    size = slurm.read_limits().max_array_size
    submissions: list[Submission] = []
    for start in range(0, len(tasks), size):
        submission = _submit_array(spec, tasks[start : start + size], lock, after)
        after = submission.job
        submissions.append(submission)
    return submissions


def settle_intent(sweep_dir: Path, submission: Submission) -> Submission | None:
    """Find out whether an intent of a launcher that died became a job, and record the answer.

    The caller holds the ledger's lock, so that launcher's sbatch has ended. Returns None if the
    cluster does not have the job.
    """
    folder = job_dir(sweep_dir, submission.token)
    job = slurm.find_by_name(submission.token) if submission.executor == "slurm" else None
    deadline = time.monotonic() + _LOCAL_START_TIMEOUT
    while job is None:
        job = _started_job(folder)
        if job is not None or submission.executor == "slurm" or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    if job is None:
        ledger.write_abandoned(sweep_dir, submission.token, "the cluster has no such job")
        return None
    return _record_submitted(sweep_dir, submission, job)


def job_script(spec: JobSpec, token: str, count: int, after: str | None = None) -> str:
    """Return the sbatch script of an array of `count` tasks that waits for the job `after`."""
    return submitit_adapter.slurm_script(
        folder=job_dir(spec.sweep_dir, token),
        command=_worker_command(spec, token),
        token=token,
        count=count,
        parameters=_slurm_parameters(spec, token, after),
    )


def _submit_array(
    spec: JobSpec, tasks: Sequence[ArrayTask], lock: int, after: str | None
) -> Submission:
    token = ledger.new_token()
    script = _create_job_dir(spec, token, tasks) / "job.sh"
    script.write_text(job_script(spec, token, len(tasks), after), encoding="utf-8")
    intent = ledger.write_intent(spec.sweep_dir, token, "slurm", tasks, getpass.getuser())
    try:
        job = slurm.submit_script(script, lock)
    except UserError as error:
        # The controller may have accepted the job although sbatch failed.
        accepted = slurm.find_by_name(token)
        if accepted is None:
            ledger.write_abandoned(spec.sweep_dir, token, str(error))
            raise
        job = accepted
    return _record_submitted(spec.sweep_dir, intent, job)


def _slurm_parameters(spec: JobSpec, token: str, after: str | None) -> dict[str, Any]:
    cluster = spec.cluster
    modules = [f"module load {shlex.quote(module)}" for module in cluster.modules]
    # The snapshot precedes any installed version, for the worker and for the trainer.
    code = f"export PYTHONPATH={shlex.quote(str(spec.code))}${{PYTHONPATH:+:$PYTHONPATH}}"
    optional = {
        name: getattr(cluster, name)
        for name in ("partition", "account", "qos", "constraint", "exclude", "mem")
        if getattr(cluster, name) is not None
    }
    if cluster.gpus_per_node:
        kind = f"{cluster.gpu_type}:" if cluster.gpu_type else ""
        optional["gpus_per_node"] = f"{kind}{cluster.gpus_per_node}"
    if after is not None:
        optional["dependency"] = f"afterany:{after}"
    return {
        "job_name": token,
        "comment": spec.name,
        "time": cluster.time,
        "nodes": cluster.nodes,
        "ntasks_per_node": cluster.ranks_per_node,
        "cpus_per_task": cluster.cpus_per_rank,
        "signal_delay_s": cluster.signal_seconds,
        "array_parallelism": spec.throttle,
        "setup": [*modules, *cluster.setup, code],
        # A rank that dies must not leave the others waiting for it until the time limit.
        "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={cluster.cpus_per_rank}"],
        "additional_parameters": {"requeue": True, **cluster.sbatch},
        **optional,
    }


def _submit_local(spec: JobSpec, tasks: Sequence[ArrayTask]) -> Submission:
    token = ledger.new_token()
    executor = spec.cluster.executor
    # One process trains the packs of all these tasks, one after another.
    packs = [pack for task in tasks for pack in task]
    folder = _create_job_dir(spec, token, [packs])
    intent = ledger.write_intent(spec.sweep_dir, token, executor, [packs], getpass.getuser())
    if executor == "debug":
        from launch import worker

        submission = _record_submitted(spec.sweep_dir, intent, f"debug{os.getpid()}")
        worker.main([str(spec.sweep_dir.absolute()), token])
        return submission
    parameters = {
        "timeout_min": (spec.cluster.time or MAX_MINUTES) * len(packs),
        "tasks_per_node": spec.cluster.ranks_per_node,
        "gpus_per_node": spec.cluster.gpus_per_node,
        "signal_delay_s": spec.cluster.signal_seconds,
        "setup": spec.cluster.setup,
    }
    command = _worker_command(spec, token)
    job = submitit_adapter.start_local(folder, command, spec.code, parameters)
    return _record_submitted(spec.sweep_dir, intent, job)


def _record_submitted(sweep_dir: Path, intent: Submission, job: str) -> Submission:
    ledger.write_submitted(sweep_dir, intent.token, job)
    return replace(intent, status="submitted", job=job)


def _worker_command(spec: JobSpec, token: str) -> str:
    parts = [sys.executable, "-u", "-m", "launch.worker", str(spec.sweep_dir.absolute()), token]
    return shlex.join(parts)


def _create_job_dir(spec: JobSpec, token: str, tasks: Sequence[ArrayTask]) -> Path:
    folder = job_dir(spec.sweep_dir, token).absolute()
    folder.mkdir(parents=True)
    worker = {"cwd": str(Path.cwd()), "executor": spec.cluster.executor, **spec.worker_settings}
    write_json(folder / TASKS, {"worker": worker, "elements": list(tasks)})
    return folder


def _started_job(folder: Path) -> str | None:
    for path in folder.glob(f"{STARTED}-*.json"):
        content = read_json(path)
        if content is not None:
            return str(content["job"])
    return None
