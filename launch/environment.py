"""The environment variables that a job must not inherit from the process that submits it.

The launcher may run inside a job of its own, or in a shell that was set up for another training.
"""

import os
import re
from collections.abc import Mapping

from gantrain.common.pools import CORES_OF_RANK

# A process's place among the ranks of another program.
_RANKS = re.compile(
    r"(GLOBAL_|LOCAL_|NODE_|GROUP_|ROLE_)?RANK|(LOCAL_|GROUP_|ROLE_)?WORLD_SIZE|ROLE_NAME"
    r"|MASTER_(ADDR|PORT)|MPI_LOCAL(RANKID|NRANKS)"
    r"|(TORCHELASTIC|ACCELERATE|OMPI|PMI|PMIX|PRTE|PALS|MV2|HYDRA|FLUX|SUBMITIT|GANTRAIN_JOB)_.*"
    r"|GANTRAIN_JOB"
)
# Another run of W&B, and the service of the process that logs it.
_WANDB_RUN = re.compile(
    r"_?WANDB_(RUN_ID|RUN_NAME|RUN_GROUP|NAME|RESUME|RESUME_FROM|FORK_FROM"
    r"|SWEEP_ID|SWEEP_PARAM_PATH|SERVICE.*)"
)
_DEVICES = re.compile(r"(CUDA|HIP|ROCR)_VISIBLE_DEVICES|GPU_DEVICE_ORDINAL|ZE_AFFINITY_MASK")
_SLURM = re.compile(r"(SLURM|SLURMD|SBATCH|SRUN|SALLOC|SQUEUE|SACCT|SINFO|SCANCEL|SCONTROL)_.*")
# How Slurm's commands find their cluster.
_SLURM_KEPT = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SBATCH_CLUSTERS", "SLURM_JWT"}
_TEMPORARY = ("TMPDIR", "TMP", "TEMP")


def without_other_ranks(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without ranks, masters and W&B runs of other trainings."""
    others = (_RANKS, _WANDB_RUN)
    return {
        name: value
        for name, value in environment.items()
        if not any(pattern.fullmatch(name) for pattern in others)
    }


def with_cores(environment: Mapping[str, str], cores: int) -> dict[str, str]:
    """Return the environment of a rank that has so many cores, beside others that have theirs.

    The trainer uses up to as many threads, and libraries that read OMP_NUM_THREADS as many. One
    that the user set stands for the number itself.
    """
    if environment.get("OMP_NUM_THREADS") and not environment.get(CORES_OF_RANK):
        return dict(environment)
    return {**environment, CORES_OF_RANK: str(cores), "OMP_NUM_THREADS": str(cores)}


def slurm_client_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment for Slurm's commands, and with sbatch for the jobs it submits.

    Without the variables of a job that this process may run in, such as SLURM_MEM_PER_CPU, the
    devices of that job, and the users' defaults for Slurm's options and output formats.
    """
    kept = {
        name: value
        for name, value in without_other_ranks(environment).items()
        if not _DEVICES.fullmatch(name) and (not _SLURM.fullmatch(name) or name in _SLURM_KEPT)
    }
    job = environment.get("SLURM_JOB_ID")
    if job:
        for name in _TEMPORARY:  # a folder that ends with this process's job
            if job in kept.get(name, ""):
                del kept[name]
    return kept


def sbatch_defaults() -> dict[str, str]:
    """Return who pays and where, if the user's environment sets it for sbatch."""
    names = ("account", "partition", "qos", "reservation")
    values = {name: os.environ.get(f"SBATCH_{name.upper()}", "") for name in names}
    return {name: value for name, value in values.items() if value}
