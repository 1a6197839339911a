"""The rank of this process, and the environment variables that torch.distributed needs."""

import hashlib
import os
from dataclasses import dataclass

from launch import submitit_adapter

# Below the range from which Linux takes the ports of outgoing connections.
_PORTS = range(10_000, 32_000)


@dataclass(frozen=True)
class RankInfo:
    """This process's position among the ranks that train one run.

    job: the array task's id. index: the task's index in its array.
    main_host: the host of rank 0. restart: how often Slurm has requeued the job.
    """

    job: str
    index: int
    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    main_host: str
    restart: int
    under_slurm: bool


def read_rank_info() -> RankInfo:
    """Return the rank that Slurm or submitit's local executor gave this process.

    A process that neither started is the only rank of its job.
    """
    executor = submitit_adapter.executor_name()
    if executor == "debug":
        return RankInfo(f"debug{os.getpid()}_0", 0, 0, 0, 1, 1, "localhost", 0, False)
    process = submitit_adapter.read_job_process()
    under_slurm = executor == "slurm"
    return RankInfo(
        job=process.job if under_slurm else f"{process.job}_0",
        index=process.array_index,
        rank=process.rank,
        local_rank=process.local_rank,
        world_size=process.world_size,
        local_world_size=process.world_size // process.nodes,
        main_host=process.hostnames[0] if under_slurm else "localhost",
        restart=int(os.environ.get("SLURM_RESTART_COUNT", "0") or 0),
        under_slurm=under_slurm,
    )


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
        "MASTER_PORT": str(_port(f"{info.job}/{info.restart}")),
    }


def _port(key: str) -> int:
    # A hash, so that all ranks agree without communication; each requeue has another port.
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return _PORTS[number % len(_PORTS)]
