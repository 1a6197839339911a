"""The rank of this process, and the environment variables that torch.distributed needs."""

import os
from dataclasses import dataclass

from gantrain.common.errors import UserError
from launch import local_job, submitit_adapter


@dataclass(frozen=True)
class RankInfo:
    """This process's position among the ranks that train one run.

    job: the job's id, or the array task's. index: the task's index in its submission.
    main_host, main_port: where rank 0 listens; the port is 0 for a single rank.
    restart: how often Slurm has requeued the job.
    """

    job: str
    index: int
    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    main_host: str
    main_port: int
    restart: int
    under_slurm: bool


def read_rank_info(executor: str, index: int, port: int) -> RankInfo:
    """Return the rank that Slurm or this machine's job gave this process.

    executor: slurm, local, or debug, in which this process is the only rank of its job.
    index: the task's index in its submission. port: where rank 0 listens, 0 for a single rank.

    Raises UserError if the process was not started as a rank of such a job.
    """
    match executor:
        case "debug":
            return RankInfo(f"debug{os.getpid()}_0", index, 0, 0, 1, 1, "localhost", 0, 0, False)
        case "local":
            info = _local_rank(index, port)
        case _:
            info = _slurm_rank(index, port)
    if info.world_size > 1 and not port:
        raise UserError(f"the {info.world_size} ranks of job {info.job} have no port to meet.")
    return info


def _local_rank(index: int, port: int) -> RankInfo:
    rank = int(_variable(local_job.RANK, "local"))
    ranks, job = int(os.environ[local_job.RANKS]), os.environ[local_job.JOB]
    return RankInfo(f"{job}_0", index, rank, rank, ranks, ranks, "localhost", port, 0, False)


def _slurm_rank(index: int, port: int) -> RankInfo:
    _variable("SLURM_PROCID", "slurm")
    process = submitit_adapter.read_job_process()
    return RankInfo(
        job=process.job,
        index=index,
        rank=process.rank,
        local_rank=process.local_rank,
        world_size=process.world_size,
        local_world_size=process.world_size // process.nodes,
        main_host=process.hostnames[0],
        main_port=port,
        restart=int(os.environ.get("SLURM_RESTART_COUNT", "0") or 0),
        under_slurm=True,
    )


def _variable(name: str, executor: str) -> str:
    if name not in os.environ:
        raise UserError(
            f"{name} is not set, so this process is not part of a {executor} job; the launcher "
            "starts it, and it trains nothing by itself."
        )
    return os.environ[name]


def distributed_environment(info: RankInfo) -> dict[str, str]:
    """Return the environment variables of torch.distributed; none for a single rank."""
    if info.world_size == 1:
        return {}
    return {
        "RANK": str(info.rank),
        "LOCAL_RANK": str(info.local_rank),
        "WORLD_SIZE": str(info.world_size),
        "LOCAL_WORLD_SIZE": str(info.local_world_size),
        "MASTER_ADDR": info.main_host,
        "MASTER_PORT": str(info.main_port),
    }
