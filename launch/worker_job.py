"""What a worker has to do: the packs of its array task, and the state of each of their runs."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gantrain.common.errors import UserError
from gantrain.runs.records import read_json
from launch.attempts import Attempt, Outcome
from launch.ranks import RankInfo, read_rank_info
from launch.sweepdir import TASKS, job_dir
from launch.sweepfile import EarlyStop


@dataclass
class RunProcess:
    """One run of the pack and its trainer process; times are of time.monotonic().

    process: None while an earlier start of the run still holds its directory. attempt: this start.
    """

    run: str
    folder: Path
    waiting_since: float
    process: subprocess.Popen[bytes] | None = None
    attempt: Attempt | None = None
    stop_requested_at: float | None = None
    stop_outcome: Outcome | None = None
    compared_at: float = 0.0
    told_owner: bool = False
    outcome: Outcome | None = None


@dataclass
class WorkerJob:
    """The work of this process: the packs of one array task.

    cores: of this machine, for this worker beside others; 0: not known.
    """

    sweep_dir: Path
    token: str
    rank_info: RankInfo
    packs: list[list[str]]
    cwd: str
    early_stop: EarlyStop | None
    cores: int = 0
    running: list[RunProcess] = field(default_factory=list)


def read_job(arguments: Sequence[str]) -> WorkerJob:
    """Return the work that a worker's command line names.

    Raises UserError if it names none, or if this process was not started as a rank of a job.
    """
    sweep_dir, token, index, port = (*arguments, "", "", "", "")[:4]
    path = job_dir(Path(sweep_dir), token) / TASKS
    content = read_json(path) or {}
    packs, settings = content.get("elements"), content.get("worker")
    if not isinstance(packs, list) or not isinstance(settings, dict):
        raise UserError(f"{path}: cannot be read, so this job has no runs; nothing was trained.")
    if not index.isdecimal() or int(index) >= len(packs):
        raise UserError(
            f"index {index!r} in submission {token}: expected a number below {len(packs)}, Slurm's "
            "SLURM_ARRAY_TASK_ID, to know which runs are this job's; nothing was trained."
        )
    rule = settings.get("early_stop")
    return WorkerJob(
        sweep_dir=Path(sweep_dir),
        token=token,
        rank_info=read_rank_info(settings["executor"], int(index), int(port or 0)),
        packs=packs[int(index)],
        cwd=settings["cwd"],
        early_stop=EarlyStop.model_validate(rule) if rule else None,
        cores=settings.get("cores", 0),
    )
