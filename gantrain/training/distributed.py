"""How this process was launched, and whether that is what was asked for."""

import ctypes
import os
import sys
import warnings

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from gantrain.common.errors import UserError
from gantrain.common.pools import usable_cores
from gantrain.config import Config
from gantrain.data.loading.datasets import ImageDataset

# Where torch's 25 MB would hold one network's gradients: some travel while others are computed.
BUCKET_MB = 4
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of <malloc.h>

_TWO_RANKS_ON_CPU = (
    "On CPUs start ranks with `accelerate launch --multi_gpu --num_processes N "
    "gantrain/train.py --config … training.device=cpu`: the launcher's --cpu starts one process."
)


def check_world_size(config: Config, accelerator: Accelerator) -> None:
    """Raise UserError unless as many ranks take part as were asked for.

    Without this, a launch in the wrong form trains several independent GANs over one another.
    """
    ranks = accelerator.num_processes
    wanted = config.training.world_size
    if wanted is not None and ranks != wanted:
        raise UserError(
            f"training.world_size: {wanted} ranks asked for, but {ranks} take part. "
            + _TWO_RANKS_ON_CPU
        )
    announced = int(os.environ.get("WORLD_SIZE", "0") or 0)
    if announced and announced != ranks:
        raise UserError(
            f"The launcher announced {announced} ranks (WORLD_SIZE), but {ranks} take part."
        )
    if not announced and ranks == 1 and "MASTER_ADDR" in os.environ and wanted is None:
        raise UserError(
            "The launcher was asked for several processes (it set MASTER_ADDR) but started this "
            "one alone. " + _TWO_RANKS_ON_CPU + " For one rank all the same: training.world_size=1."
        )
    batch = config.training.batch_size
    if batch % (ranks * config.training.grad_accum_steps):
        raise UserError(
            f"training.batch_size: {batch} cannot be shared by {ranks} ranks in "
            f"{config.training.grad_accum_steps} part(s) each; choose a multiple of "
            f"{ranks * config.training.grad_accum_steps}."
        )


def check_same_data(dataset: ImageDataset, accelerator: Accelerator) -> None:
    """Raise UserError unless all ranks go through the same images in the same order.

    Machines with other amounts of scratch may choose other modes, or find other images broken.
    """
    mine = torch.tensor([dataset.fingerprint], device=accelerator.device)
    of_ranks = accelerator.gather(mine).tolist()
    if len(set(of_ranks)) > 1:
        raise UserError(
            f"data: rank {accelerator.process_index} goes through {dataset.description}, and "
            "another rank through other images or in another order. Set data.mode=cache or "
            "data.mode=stream for all, and see whether all machines can read the whole set."
        )


def make_accelerator(config: Config) -> Accelerator:
    """Accelerate's view of this process: its rank, device and precision.

    Raises UserError if the machine has not what the config asks for.
    """
    training = config.training
    cpu = training.device == "cpu" or not torch.cuda.is_available()
    if training.device == "cuda" and cpu:
        raise UserError("training.device: 'cuda' asked for, but torch sees no GPU; use auto.")
    if training.mixed_precision == "fp16" and cpu:
        raise UserError("training.mixed_precision: 'fp16' needs a GPU; on a CPU use bf16 or no.")
    if training.compile == "graphs" and cpu:
        raise UserError("training.compile: 'graphs' are CUDA's; on a CPU use on or off.")
    if training.sync_batch_norm and cpu:
        raise UserError("training.sync_batch_norm: true needs GPUs; set it to false on a CPU.")
    if cpu:
        set_threads(training.cpu_threads)
        keep_freed_memory()
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)
    # Statistics differ a little between the ranks; to broadcast them would change them in place
    # between the forward passes of one backward pass.
    ddp = DistributedDataParallelKwargs(
        broadcast_buffers=False, gradient_as_bucket_view=True, bucket_cap_mb=BUCKET_MB
    )
    return Accelerator(cpu=cpu, mixed_precision=training.mixed_precision, kwargs_handlers=[ddp])


def keep_freed_memory() -> None:
    """Let glibc keep the memory of tensors that are freed for those of the next step.

    By default it gives large pieces back, and the kernel clears each page anew in every step, which
    took up to a fifth of the time (docs/performance.md). Other C libraries stay as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def set_threads(wanted: int | None) -> None:
    """Let this rank compute with so many threads, or with its share of the machine's cores."""
    # `accelerate launch` sets 1 where nobody asked for a number; whoever did is obeyed.
    by_launcher = "ACCELERATE_MIXED_PRECISION" in os.environ
    if wanted is None and by_launcher and os.environ.get("OMP_NUM_THREADS") == "1":
        wanted = max(usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)
    if wanted is not None:
        torch.set_num_threads(wanted)
