"""Which rank this process is, and what torch.distributed must be told of it."""

import hashlib
import os
from dataclasses import dataclass

import submitit

# Below the range from which Linux takes ports for outgoing connections.
_PORTS = range(10_000, 32_000)


@dataclass(frozen=True)
class Seat:
    """This process's place among those that train one run."""

    job: str
    index: int
    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    main_host: str
    restart: int
    under_slurm: bool


def read_seat() -> Seat:
    """From what Slurm or submitit's local executor set; alone if neither did."""
    executor = os.environ.get("SUBMITIT_EXECUTOR", "debug")
    if executor not in ("slurm", "local"):
        return Seat(f"debug{os.getpid()}_0", 0, 0, 0, 1, 1, "localhost", 0, False)
    environment = submitit.JobEnvironment()
    return Seat(
        job=environment.job_id if executor == "slurm" else f"{environment.job_id}_0",
        index=int(environment.array_task_id or 0),
        rank=environment.global_rank,
        local_rank=environment.local_rank,
        world_size=environment.num_tasks,
        local_world_size=environment.num_tasks // environment.num_nodes,
        main_host=environment.hostnames[0] if executor == "slurm" else "localhost",
        restart=int(os.environ.get("SLURM_RESTART_COUNT", "0") or 0),
        under_slurm=executor == "slurm",
    )


def distributed_environment(seat: Seat) -> dict[str, str]:
    """The variables of torch.distributed; none for a single process."""
    if seat.world_size == 1:
        return {}
    return {
        "RANK": str(seat.rank),
        "LOCAL_RANK": str(seat.local_rank),
        "WORLD_SIZE": str(seat.world_size),
        "LOCAL_WORLD_SIZE": str(seat.local_world_size),
        "MASTER_ADDR": seat.main_host,
        "MASTER_PORT": str(_port(f"{seat.job}/{seat.restart}")),
    }


def _port(key: str) -> int:
    # The same on all ranks without a word between them; another after each requeue.
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return _PORTS[number % len(_PORTS)]
