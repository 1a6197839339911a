"""Submit jobs and record them in the ledger: arrays on Slurm, processes on this machine.

A job's command contains the sweep's directory, the submission's token and the task's index, so it
works from the moment at which sbatch accepts it, whatever happens to the launcher afterwards, and
with whatever environment the job starts.
"""

import os
import shlex
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.files import write_json
from gantrain.common.pools import usable_cores
from gantrain.common.ports import free_port
from gantrain.runs.records import is_text, read_json
from launch import bootstrap, ledger, local_job, slurm, submitit_adapter
from launch.cluster import Cluster
from launch.environment import sbatch_defaults
from launch.ledger import ArrayTask, Submission
from launch.setup_lines import setup_script
from launch.slurm import ClusterLimits, SubmitLimitError
from launch.sweepdir import STARTED, TASKS, job_dir
from launch.throttle import ActiveArray, Place, next_place
from launch.units import MAX_MINUTES

_LOCAL_START_TIMEOUT = 5.0  # seconds


@dataclass(frozen=True)
class JobSpec:
    """How the jobs of one launch are submitted.

    name: the sweep's, for the jobs' comment. code: the code snapshot that the jobs import.
    throttle: tasks that run at the same time. worker_settings: what the worker reads in addition
    to its tasks. cwd: the trainers' working directory.
    """

    sweep_dir: Path
    name: str
    cluster: Cluster
    code: Path
    throttle: int
    worker_settings: dict[str, Any]
    cwd: Path


def submit_tasks(
    spec: JobSpec, tasks: Sequence[ArrayTask], lock: int, active: Sequence[ActiveArray]
) -> tuple[list[Submission], str]:
    """Submit jobs for these tasks, and record each submission before and after it is made.

    On Slurm they become arrays of at most MaxArraySize tasks, and single jobs where that is 0.
    Where Slurm accepts fewer jobs, they are halved; the last tasks may find no place. Returns the
    submissions and the limit that the next one met, empty if all tasks are submitted.

    lock: descriptor of the ledger's lock. active: the sweep's jobs, oldest first.

    Raises UserError with Slurm's message if it refuses an array; earlier arrays stay submitted.
    """
    if spec.cluster.executor != "slurm":
        workers = min(spec.cluster.workers, len(tasks))
        cores = max(1, usable_cores() // workers)
        return [_submit_local(spec, tasks[i::workers], cores) for i in range(workers)], ""
    limits = slurm.read_limits()
    size = limits.max_array_size or 1
    queue, rest = list(active), list(tasks)
    submissions: list[Submission] = []
    while rest:
        place = next_place(queue, min(size, len(rest)), spec.throttle)
        try:
            submission = _submit_array(spec, rest[: place.count], lock, place, limits)
        except SubmitLimitError as error:
            if place.count == 1:
                return submissions, str(error)
            size = place.count // 2
            continue
        submissions.append(submission)
        queue.append(ActiveArray(submission.job, place.count, place.limit, place.after))
        del rest[: place.count]
    return submissions, ""


def settle_intent(sweep_dir: Path, submission: Submission) -> Submission | None:
    """Find out whether an intent of a launcher that died became a job, and record the answer.

    The caller holds the ledger's lock, so that launcher's sbatch has ended. Returns None if the
    cluster does not have the job. Without an answer the submission stays as it is: only the machine
    or cluster on which it was made knows.
    """
    folder = job_dir(sweep_dir, submission.token)
    job = slurm.find_by_name(submission.job_name) if submission.executor == "slurm" else None
    deadline = time.monotonic() + _LOCAL_START_TIMEOUT
    while job is None:
        job = _started_job(folder)
        if job is not None or submission.executor == "slurm" or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    if job is None and not _made_here(submission):
        return submission
    if job is None:
        ledger.write_abandoned(sweep_dir, submission.token, "the cluster has no such job")
        return None
    return _record_submitted(sweep_dir, submission, job)


def _made_here(submission: Submission) -> bool:
    if submission.executor != "slurm":
        return submission.cluster in ("", socket.gethostname())
    limits = slurm.read_limits()
    return submission.cluster in ("", limits.cluster) and submission.controller in (
        "",
        limits.controller,
    )


def job_script(spec: JobSpec, token: str, place: Place, *, array: bool = True) -> str:
    """Return the sbatch script of an array at this place, or of a single job."""
    # The batch script's own environment always has the task's id; that of srun's tasks may not.
    index = '"${SLURM_ARRAY_TASK_ID-}"' if array else "0"
    return submitit_adapter.slurm_script(
        folder=job_dir(spec.sweep_dir, token).absolute(),
        command=f'{shlex.join(_worker_command(spec, token))} {index} "$port"',
        token=token,
        count=place.count if array else None,
        parameters=_slurm_parameters(spec, token, place),
    )


def _submit_array(
    spec: JobSpec, tasks: Sequence[ArrayTask], lock: int, place: Place, limits: ClusterLimits
) -> Submission:
    token, array = ledger.new_token(), limits.max_array_size > 0
    folder = _create_job_dir(spec, token, tasks)
    script = folder / "job.sh"
    script.write_text(job_script(spec, token, place, array=array), encoding="utf-8")
    details = {"limit": place.limit, "after": place.after, "array": array}
    details |= {"cluster": limits.cluster, "controller": limits.controller}
    details["name"] = ledger.job_name(spec.name, token)
    intent = _write_intent(spec, token, tasks, **details)
    try:
        job = slurm.submit_script(script, lock)
    except UserError as error:
        # The controller may have accepted the job although sbatch failed.
        accepted = slurm.find_by_name(intent.job_name)
        if accepted is None:
            ledger.write_abandoned(spec.sweep_dir, token, str(error))
            shutil.rmtree(folder, ignore_errors=True)
            raise
        job = accepted
    return _record_submitted(spec.sweep_dir, intent, job)


def _slurm_parameters(spec: JobSpec, token: str, place: Place) -> dict[str, Any]:
    cluster = spec.cluster
    optional: dict[str, Any] = {
        name: getattr(cluster, name)
        for name in ("partition", "account", "qos", "constraint", "exclude", "mem")
        if getattr(cluster, name) is not None
    }
    defaults = {k: v for k, v in sbatch_defaults().items() if k not in optional}
    if cluster.gpus_per_node:
        kind = f"{cluster.gpu_type}:" if cluster.gpu_type else ""
        optional["gpus_per_node"] = f"{kind}{cluster.gpus_per_node}"
    if place.after:
        optional["dependency"] = f"afterany:{place.after}"
    return {
        "job_name": ledger.job_name(spec.name, token),
        "comment": spec.name,
        "time": cluster.time,
        "nodes": cluster.nodes,
        "ntasks_per_node": cluster.ranks_per_node,
        "cpus_per_task": cluster.cpus_per_rank,
        "signal_delay_s": cluster.signal_seconds,
        "array_parallelism": place.limit,
        "setup": _setup_lines(spec),
        "srun_args": [
            # A rank that dies must not leave the others waiting for it until the time limit.
            "--kill-on-bad-exit=1",
            # Against SLURM_EXPORT_ENV=NONE, which sites and `sbatch --export=NONE` set.
            "--export=ALL",
            f"--cpus-per-task={cluster.cpus_per_rank}",
        ],
        "additional_parameters": {"requeue": True, "export": "ALL", **defaults, **cluster.sbatch},
        **optional,
    }


def _setup_lines(spec: JobSpec) -> list[str]:
    cluster = spec.cluster
    lines = setup_script(cluster.modules, cluster.setup)
    if (sbatch := shutil.which("sbatch")) is not None:
        # The worker calls scontrol; a job may start with an empty environment or another PATH.
        folder = shlex.quote(str(Path(sbatch).parent))
        lines.append(
            f'[ "$(command -v sbatch)" = {shlex.quote(sbatch)} ] || '
            f'export PATH={folder}"${{PATH:+:$PATH}}"'
        )
    port = 'port=""'
    if cluster.world_size > 1:
        # This script runs on the machine of rank 0.
        find = shlex.join(bootstrap.command(spec.code, "launch.ports"))
        port = f'port=$({find} "$SLURM_JOB_ID/${{SLURM_RESTART_COUNT-0}}")'
    return [*lines, port]


def _submit_local(spec: JobSpec, tasks: Sequence[ArrayTask], cores: int) -> Submission:
    token = ledger.new_token()
    executor = spec.cluster.executor
    # One process trains the packs of all these tasks, one after another.
    packs = [pack for task in tasks for pack in task]
    folder = _create_job_dir(spec, token, [packs], cores=cores)
    intent = _write_intent(spec, token, [packs], cluster=socket.gethostname())
    if executor == "debug":
        from launch import worker

        submission = _record_submitted(spec.sweep_dir, intent, f"debug{os.getpid()}")
        worker.main([str(spec.sweep_dir.absolute()), token, "0"])
        return submission
    cluster = spec.cluster
    port = free_port(token) if cluster.world_size > 1 else 0
    command = [*_worker_command(spec, token), "0", str(port)]
    if lines := setup_script(cluster.modules, cluster.setup):
        command = ["bash", "-c", "\n".join([*lines, f"exec {shlex.join(command)}"])]
    job = local_job.start(
        folder,
        command,
        code=spec.code,
        ranks=cluster.ranks_per_node,
        devices=cluster.gpus_per_node,
        minutes=(cluster.time or MAX_MINUTES) * len(packs),
        signal_seconds=cluster.signal_seconds,
    )
    return _record_submitted(spec.sweep_dir, intent, job)


def _write_intent(
    spec: JobSpec, token: str, tasks: Sequence[ArrayTask], **details: Any
) -> Submission:
    intent = Submission(
        token, spec.cluster.executor, tuple(tasks), "intent", user=ledger.user_name(), **details
    )
    ledger.write_intent(spec.sweep_dir, intent)
    return intent


def _record_submitted(sweep_dir: Path, intent: Submission, job: str) -> Submission:
    ledger.write_submitted(sweep_dir, intent.token, job)
    return replace(intent, status="submitted", job=job)


def _worker_command(spec: JobSpec, token: str) -> list[str]:
    return bootstrap.command(spec.code, "launch.worker", str(spec.sweep_dir.absolute()), token)


def _create_job_dir(
    spec: JobSpec, token: str, tasks: Sequence[ArrayTask], **worker_settings: Any
) -> Path:
    folder = job_dir(spec.sweep_dir, token).absolute()
    folder.mkdir(parents=True)
    worker = {"cwd": str(spec.cwd), "executor": spec.cluster.executor}
    worker |= spec.worker_settings | worker_settings
    write_json(folder / TASKS, {"worker": worker, "elements": list(tasks)})
    return folder


def _started_job(folder: Path) -> str | None:
    for path in folder.glob(f"{STARTED}-*.json"):
        content = read_json(path)
        if content is not None and is_text(content.get("job")):
            return str(content["job"])
    return None
