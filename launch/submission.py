"""Hand jobs to submitit: arrays for Slurm, processes for this machine.

The job's command names the sweep and the submission, nothing else, and so works from the moment at
which sbatch takes it. (submitit's pickles are moved into place after that; a launcher that dies in
between would leave jobs without a function.)
"""

import getpass
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit

from gantrain.common.errors import UserError
from gantrain.common.files import write_json
from launch import ledger, slurm
from launch.cluster import Cluster
from launch.ledger import Element, Submission
from launch.sweepdir import job_dir

ELEMENTS = "elements.json"
STARTED = "started"
_LOCAL_WAIT = 5.0


@dataclass(frozen=True)
class Order:
    """What is to be submitted: jobs, and how they are run."""

    sweep_dir: Path
    name: str
    cluster: Cluster
    code: Path
    throttle: int
    worker: dict[str, Any]  # settings that the worker reads beside its elements


class _WaitingExecutor(submitit.SlurmExecutor):  # type: ignore[misc]
    """submitit's executor, whose sbatch holds the ledger's lock until it has ended."""

    lock: int

    def sbatch(self, text: str, script: Path) -> str:
        """Submit a job script; gives the job's id."""
        script.write_text(text, encoding="utf-8")
        command = self._make_submission_command(script)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, pass_fds=(self.lock,)
            )
        except FileNotFoundError:
            raise UserError("sbatch: not found, so there is no Slurm here.") from None
        if done.returncode:
            raise UserError(f"sbatch: {' '.join(done.stderr.split())}")
        return str(self._get_job_id_from_submission_command(done.stdout))


def submit_all(
    order: Order, elements: Sequence[Element], lock: int, after: str | None
) -> list[Submission]:
    """Submit jobs for these elements, the ledger written around each call.

    Under Slurm they become arrays of at most MaxArraySize, each waiting for the one before
    (`after` for the first), so that one throttle holds for all. Raises UserError with the cluster's
    words if it refuses; what it took before that stays.
    """
    if order.cluster.executor != "slurm":
        lanes = [list(lane) for lane in _lanes(elements, order.cluster.lanes)]
        return [_submit_local(order, lane) for lane in lanes]
    size = slurm.read_limits().max_array_size
    done: list[Submission] = []
    for start in range(0, len(elements), size):
        submission = _submit_array(order, elements[start : start + size], lock, after)
        after = submission.job
        done.append(submission)
    return done


def recover(order_dir: Path, submission: Submission) -> Submission | None:
    """Find out what became of an intent whose launcher died; the ledger then says it too.

    The caller holds the ledger's lock, so the sbatch of that launcher has ended.
    """
    folder = job_dir(order_dir, submission.token)
    job = slurm.find_by_name(submission.token) if submission.executor == "slurm" else None
    deadline = time.monotonic() + _LOCAL_WAIT
    while job is None:
        job = _started_job(folder)
        if job is not None or submission.executor == "slurm" or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    if job is None:
        ledger.write_abandoned(order_dir, submission.token, "the cluster has no such job")
        return None
    ledger.write_submitted(order_dir, submission.token, job)
    return ledger.Submission(
        **{**submission.__dict__, "fate": "submitted", "job": job}  # the same, now with its id
    )


def script_text(order: Order, token: str, count: int, after: str | None = None) -> str:
    """The sbatch script of an array of `count` jobs."""
    executor = _slurm_executor(order, token, count, after)
    return str(executor._make_submission_file_text(_command(order, token), token))


def _submit_array(
    order: Order, elements: Sequence[Element], lock: int, after: str | None
) -> Submission:
    token = ledger.new_token()
    folder = _prepare(order, token, elements)
    executor = _slurm_executor(order, token, len(elements), after)
    executor.lock = lock
    text = executor._make_submission_file_text(_command(order, token), token)
    intent = ledger.write_intent(order.sweep_dir, token, "slurm", list(elements), getpass.getuser())
    try:
        job = executor.sbatch(text, folder / "job.sh")
    except UserError as error:
        # The controller may have taken the job although sbatch did not hear it.
        found = slurm.find_by_name(token)
        if found is None:
            ledger.write_abandoned(order.sweep_dir, token, str(error))
            raise
        job = found
    ledger.write_submitted(order.sweep_dir, token, job)
    return ledger.Submission(**{**intent.__dict__, "fate": "submitted", "job": job})


def _slurm_executor(order: Order, token: str, count: int, after: str | None) -> _WaitingExecutor:
    cluster = order.cluster
    try:
        executor = _WaitingExecutor(folder=job_dir(order.sweep_dir, token))
    except RuntimeError:
        raise UserError("srun: not found, so there is no Slurm here.") from None
    modules = [f"module load {shlex.quote(module)}" for module in cluster.modules]
    # The snapshot goes before whatever is installed, for the worker and the trainer.
    code = f"export PYTHONPATH={shlex.quote(str(order.code))}${{PYTHONPATH:+:$PYTHONPATH}}"
    optional = {
        name: getattr(cluster, name)
        for name in ("partition", "account", "qos", "constraint", "exclude", "mem")
        if getattr(cluster, name) is not None
    }
    if cluster.gpus_per_node:
        optional["gpus_per_node"] = cluster.gpus_per_node
    if after is not None:
        optional["dependency"] = f"afterany:{after}"
    executor.update_parameters(
        job_name=token,
        comment=order.name,
        time=cluster.time,
        nodes=cluster.nodes,
        ntasks_per_node=cluster.ranks_per_node,
        cpus_per_task=cluster.cpus_per_rank,
        signal_delay_s=cluster.signal_seconds,
        array_parallelism=order.throttle,
        setup=[*modules, *cluster.setup, code],
        # One rank that dies must not leave the others waiting for it until the time limit.
        srun_args=["--kill-on-bad-exit=1", f"--cpus-per-task={cluster.cpus_per_rank}"],
        additional_parameters={"requeue": True, **cluster.sbatch},
        **optional,
    )
    executor.parameters["map_count"] = count
    return executor


def _submit_local(order: Order, lane: Sequence[Element]) -> Submission:
    token = ledger.new_token()
    # One process works through all of the lane's packs.
    element = [pack for one in lane for pack in one]
    folder = _prepare(order, token, [element])
    intent = ledger.write_intent(
        order.sweep_dir, token, order.cluster.executor, [element], getpass.getuser()
    )
    if order.cluster.executor == "debug":
        from launch import worker

        ledger.write_submitted(order.sweep_dir, token, f"debug{os.getpid()}")
        worker.main([str(order.sweep_dir.absolute()), token])
        return ledger.Submission(**{**intent.__dict__, "fate": "submitted"})
    executor = submitit.LocalExecutor(folder=folder)
    executor.update_parameters(
        timeout_min=order.cluster.time * len(element),
        tasks_per_node=order.cluster.ranks_per_node,
        gpus_per_node=order.cluster.gpus_per_node,
        signal_delay_s=order.cluster.signal_seconds,
        setup=order.cluster.setup,
    )
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{order.code}{':' + before if before else ''}"
    try:
        with _detached(folder / "controller.log"):
            job = executor._submit_command(_command(order, token)).job_id
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    ledger.write_submitted(order.sweep_dir, token, job)
    return ledger.Submission(**{**intent.__dict__, "fate": "submitted", "job": job})


@contextmanager
def _detached(log: Path) -> Iterator[None]:
    # Processes that are started within it outlive the terminal, take no Ctrl-C that is meant for
    # the launcher, and keep no pipe open that somebody reads the launcher's words from.
    ignored = (signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    kept = [os.dup(1), os.dup(2)]
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        yield
    finally:
        for descriptor, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        for number, handler in zip(ignored, before, strict=True):
            signal.signal(number, handler)
        os.close(file)


def _command(order: Order, token: str) -> str:
    parts = [sys.executable, "-u", "-m", "launch.worker", str(order.sweep_dir.absolute()), token]
    return shlex.join(parts)


def _prepare(order: Order, token: str, elements: Sequence[Element]) -> Path:
    folder = job_dir(order.sweep_dir, token).absolute()
    folder.mkdir(parents=True)
    worker = {"cwd": str(Path.cwd()), "executor": order.cluster.executor, **order.worker}
    write_json(folder / ELEMENTS, {"worker": worker, "elements": list(elements)})
    return folder


def _started_job(folder: Path) -> str | None:
    for path in folder.glob(f"{STARTED}-*.json"):
        return str(json.loads(path.read_text(encoding="utf-8"))["job"])
    return None


def _lanes(elements: Sequence[Element], count: int) -> list[Sequence[Element]]:
    return [elements[i::count] for i in range(min(count, len(elements)))]
