"""The only module that uses submitit: its job scripts, its local processes, its environment.

submitit submits pickled functions. It moves each pickle into place after sbatch has returned, so a
launcher that dies in between leaves jobs without a function. The launcher therefore submits a plain
command, with two private methods of submitit. PRIVATE_METHODS lists them, and a test compares the
list with the installed version.
"""

import importlib
import inspect
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from gantrain.common.errors import UserError
from launch.environment import without_other_ranks

# Class and method to the parameters with which it is called here.
PRIVATE_METHODS = {
    "SlurmExecutor._make_submission_file_text": ("self", "command", "uid"),
    "LocalExecutor._submit_command": ("self", "command"),
}


@dataclass(frozen=True)
class JobProcess:
    """This process's position in its job, as submitit reads it from the environment."""

    job: str
    rank: int
    local_rank: int
    world_size: int
    nodes: int
    hostnames: tuple[str, ...]


def slurm_script(
    folder: Path, command: str, token: str, count: int | None, parameters: Mapping[str, Any]
) -> str:
    """Return the sbatch script of an array of `count` tasks that each run `command` under srun.

    count: None for a single job that is no array. folder: where the tasks' output goes.
    parameters: see submitit's SlurmExecutor.

    Raises UserError if this machine has no srun.
    """
    try:
        executor = _submitit().SlurmExecutor(folder=folder)
    except RuntimeError:
        raise UserError("srun: not found, so this machine has no Slurm.") from None
    executor.update_parameters(**parameters)
    if count is not None:
        executor.parameters["map_count"] = count
    return str(executor._make_submission_file_text(command, token))


def start_local(folder: Path, command: str, parameters: Mapping[str, Any]) -> str:
    """Start processes on this machine that run `command`, and return their controller's PID.

    They keep running when the launcher and its terminal end.

    folder: where their output goes. parameters: see submitit's LocalExecutor.
    """
    executor = _submitit().LocalExecutor(folder=folder)
    executor.update_parameters(**parameters)
    with _without_other_ranks(), _detached(folder / "controller.log"):
        return str(executor._submit_command(command).job_id)


def is_local_controller(command_line: bytes, token: str) -> bool:
    """Return whether a process's command line is that of start_local's controller of a submission.

    token: the last part of the folder that start_local was given.
    """
    return b"submitit" in command_line and token.encode() in command_line


def read_job_process(executor: str) -> JobProcess:
    """Return this process's position in its job.

    executor: slurm or local, whichever started it.

    Raises UserError if the environment lacks what that executor tells its processes.
    """
    needed = {"slurm": "SLURM_PROCID", "local": "SUBMITIT_LOCAL_GLOBALID"}[executor]
    if needed not in os.environ:
        raise UserError(
            f"{needed} is not set, so this process is not part of a {executor} job; the launcher "
            "starts it, and it trains nothing by itself."
        )
    os.environ["SUBMITIT_EXECUTOR"] = executor  # by which submitit chooses the class
    environment = _submitit().JobEnvironment()
    return JobProcess(
        job=environment.job_id,
        rank=environment.global_rank,
        local_rank=environment.local_rank,
        world_size=environment.num_tasks,
        nodes=environment.num_nodes,
        hostnames=tuple(environment.hostnames),
    )


def incompatibilities() -> list[str]:
    """Return a line for each private method that the installed submitit lacks or has changed."""
    submitit = _submitit()
    lines = []
    for name, expected in PRIVATE_METHODS.items():
        class_name, _, method_name = name.partition(".")
        method = getattr(getattr(submitit, class_name, None), method_name, None)
        if method is None:
            lines.append(f"submitit.{name} is gone; the launcher calls it")
            continue
        parameters = tuple(inspect.signature(method).parameters)
        if parameters != expected:
            lines.append(f"submitit.{name} takes {parameters}; the launcher expects {expected}")
    return lines


def _submitit() -> ModuleType:
    try:
        return importlib.import_module("submitit")
    except ModuleNotFoundError:
        raise UserError(
            "submitit is not installed; install it with pip install 'gantrain[cluster]'."
        ) from None


@contextmanager
def _without_other_ranks() -> Iterator[None]:
    # submitit passes on the environment of this process.
    before = dict(os.environ)
    for name in before.keys() - without_other_ranks(before).keys():
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)


@contextmanager
def _detached(log: Path) -> Iterator[None]:
    # Processes started in this block outlive the terminal, ignore a Ctrl-C meant for the launcher,
    # and do not keep open a pipe from which somebody reads the launcher's output.
    ignored = (signal.SIGINT, signal.SIGHUP)
    handlers = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    copies = [os.dup(1), os.dup(2)]
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        yield
    finally:
        for descriptor, copy in zip((1, 2), copies, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        for number, handler in zip(ignored, handlers, strict=True):
            signal.signal(number, handler)
        os.close(file)
