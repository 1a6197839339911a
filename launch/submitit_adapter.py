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

# Class and method to the parameters with which it is called here.
PRIVATE_METHODS = {
    "SlurmExecutor._make_submission_file_text": ("self", "command", "uid"),
    "LocalExecutor._submit_command": ("self", "command"),
}


@dataclass(frozen=True)
class JobProcess:
    """This process's position in its job, as submitit reads it from the environment."""

    job: str
    array_index: int
    rank: int
    local_rank: int
    world_size: int
    nodes: int
    hostnames: tuple[str, ...]


def slurm_script(
    folder: Path, command: str, token: str, count: int, parameters: Mapping[str, Any]
) -> str:
    """Return the sbatch script of an array of `count` tasks that each run `command` under srun.

    folder: where the tasks' output goes. parameters: see submitit's SlurmExecutor.

    Raises UserError if this machine has no srun.
    """
    try:
        executor = _submitit().SlurmExecutor(folder=folder)
    except RuntimeError:
        raise UserError("srun: not found, so this machine has no Slurm.") from None
    executor.update_parameters(**parameters)
    executor.parameters["map_count"] = count
    return str(executor._make_submission_file_text(command, token))


def start_local(
    folder: Path, command: str, python_path: Path, parameters: Mapping[str, Any]
) -> str:
    """Start processes on this machine that run `command`, and return their controller's PID.

    They keep running when the launcher and its terminal end.

    folder: where their output goes. python_path: put in front of their PYTHONPATH.
    parameters: see submitit's LocalExecutor.
    """
    executor = _submitit().LocalExecutor(folder=folder)
    executor.update_parameters(**parameters)
    with _in_front_of_python_path(python_path), _detached(folder / "controller.log"):
        return str(executor._submit_command(command).job_id)


def is_local_controller(command_line: bytes) -> bool:
    """Return whether a process's command line is that of a controller that start_local started."""
    return b"submitit" in command_line


def executor_name() -> str:
    """Return which executor started this process: slurm, local, or debug if neither did."""
    name = os.environ.get("SUBMITIT_EXECUTOR", "debug")
    return name if name in ("slurm", "local") else "debug"


def read_job_process() -> JobProcess:
    """Return this process's position in its job. Call it in processes of slurm or local only."""
    environment = _submitit().JobEnvironment()
    return JobProcess(
        job=environment.job_id,
        array_index=int(environment.array_task_id or 0),
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
def _in_front_of_python_path(folder: Path) -> Iterator[None]:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{folder}{':' + before if before else ''}"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


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
