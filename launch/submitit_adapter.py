"""The only module that uses submitit: its job scripts for Slurm, and its view of a task's place.

submitit submits pickled functions. It moves each pickle into place after sbatch has returned, so a
launcher that dies in between leaves jobs without a function. The launcher therefore submits a plain
command, with a private method of submitit. PRIVATE_METHODS lists it, and a test compares the list
with the installed version.
"""

import importlib
import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.extras import missing_packages

# Class and method to the parameters with which it is called here.
PRIVATE_METHODS = {
    "SlurmExecutor._make_submission_file_text": ("self", "command", "uid"),
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


def read_job_process() -> JobProcess:
    """Return this process's position in its Slurm job. Needs SLURM_PROCID in the environment."""
    os.environ["SUBMITIT_EXECUTOR"] = "slurm"  # by which submitit chooses the class
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
        raise missing_packages("Slurm jobs", "submitit") from None
