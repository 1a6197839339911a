"""Set-up of this process: its rank, device, precision and threads, checked against the request."""

import ctypes
import logging
import os
import sys
import warnings

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs

from gantrain.common.command_line import command_of
from gantrain.common.errors import UserError
from gantrain.config import Config
from gantrain.data.loading.datasets import ImageDataset
from gantrain.training.launcher_settings import (
    asks_for_cpu,
    remove_ignored_settings,
)
from gantrain.training.precision import Precision, choose_precision
from gantrain.training.threads import set_threads

logger = logging.getLogger(__name__)

# torch's 25 MB would put all gradients of a network into one bucket; with small buckets some are
# exchanged while others are computed.
BUCKET_MB = 4
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of <malloc.h>

_TWO_RANKS_ON_CPU = (
    "On CPUs start ranks with `accelerate launch --multi_gpu --num_processes N "
    "gantrain/train.py --config … training.device=cpu`: the launcher's --cpu starts one process."
)


def check_world_size(config: Config, accelerator: Accelerator) -> None:
    """Raise UserError unless as many ranks take part as were requested.

    Without this check, a wrong launch command trains several independent GANs that overwrite each
    other's files.
    """
    ranks = accelerator.num_processes
    requested = config.training.world_size
    if requested is not None and ranks != requested:
        raise UserError(
            f"training.world_size: {requested} ranks requested, but {ranks} take part. "
            + _TWO_RANKS_ON_CPU
        )
    announced = int(os.environ.get("WORLD_SIZE", "0") or 0)
    if announced and announced != ranks:
        raise UserError(
            f"The launcher announced {announced} ranks (WORLD_SIZE), but {ranks} take part."
        )
    if not announced and ranks == 1 and "MASTER_ADDR" in os.environ and requested is None:
        raise UserError(
            "The launcher was asked for several processes (it set MASTER_ADDR) but started only "
            "this one. " + _TWO_RANKS_ON_CPU + " To train with one rank: training.world_size=1."
        )
    batch, steps = config.training.batch_size, config.training.grad_accum_steps
    if batch % (ranks * steps):
        raise UserError(
            f"training.batch_size: {batch} cannot be split over {ranks} ranks with {steps} "
            f"micro-batch(es) each; choose a multiple of {ranks * steps}."
        )


def check_same_data(dataset: ImageDataset, accelerator: Accelerator) -> None:
    """Raise UserError unless all ranks train on the same images in the same order.

    Machines with different scratch space may choose different modes, or find other images broken.
    """
    fingerprint = torch.tensor([dataset.fingerprint], device=accelerator.device)
    if len(set(accelerator.gather(fingerprint).tolist())) > 1:
        raise UserError(
            f"data: rank {accelerator.process_index} trains on {dataset.description}, and another "
            "rank on other images or in another order. Set data.mode=cache or data.mode=stream for "
            "all ranks, and check that all machines can read the whole data set."
        )


def make_accelerator(config: Config) -> Accelerator:
    """Set up Accelerate for this process: rank, device and precision.

    Raises UserError if the machine lacks what the config asks for.
    """
    training = config.training
    ignored = remove_ignored_settings(config, os.environ, command_of(os.getppid()))
    if ignored:
        logger.warning(
            f"ignored, since the config decides: {', '.join(ignored)}. Set them in the config."
        )
    cpu = training.device == "cpu" or not torch.cuda.is_available() or asks_for_cpu()
    if training.device == "cuda" and cpu:
        raise UserError("training.device: 'cuda' requested, but torch finds no GPU; use auto.")
    if training.mixed_precision == "fp16" and cpu:
        raise UserError(
            "training.mixed_precision: 'fp16' needs a GPU; on a CPU use auto, bf16 or no."
        )
    if training.sync_batch_norm and cpu:
        raise UserError("training.sync_batch_norm: true needs GPUs; set it to false on a CPU.")
    if cpu:
        set_threads(training)
        keep_freed_memory()
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)
    _join_ranks(cpu=cpu)
    device, run_dir = PartialState().device, config.output.run_dir
    return new_accelerator(choose_precision(training.mixed_precision, device, run_dir), cpu=cpu)


def _join_ranks(*, cpu: bool) -> None:
    """Connect this rank with the others, which agree on a precision before Accelerate is set up."""
    ranks, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1") or 1), torch.cuda.device_count()
    if cpu or not gradients_over_gloo(ranks, gpus):
        PartialState(cpu=cpu)
        return
    logger.warning(
        f"cuda: {ranks} ranks share {gpus} GPU(s), for which NCCL is not made; they exchange "
        "gradients by way of the host, which is slow. Start one rank for each GPU."
    )
    state = PartialState(backend="gloo")
    # Accelerate gives torch the number of the rank as that of its GPU.
    state.local_process_index = state.device.index


def new_accelerator(precision: Precision, *, cpu: bool) -> Accelerator:
    """Return an Accelerator of this rank; a further one shares its place among the ranks only."""
    # Broadcasting would change BatchNorm's statistics in place between the forward passes of one
    # backward pass; without it they differ slightly between the ranks.
    ddp = DistributedDataParallelKwargs(
        broadcast_buffers=False, gradient_as_bucket_view=True, bucket_cap_mb=BUCKET_MB
    )
    return Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=[ddp])


def gradients_over_gloo(ranks: int, gpus: int) -> bool:
    """Return whether ranks of this machine share a GPU, which NCCL refuses."""
    return ranks > gpus


def uses_graphs(config: Config, accelerator: Accelerator) -> bool:
    """Return whether the steps of this rank are to be CUDA graphs.

    Not with statistics that the ranks exchange in each layer; not with several micro-batches, which
    the host seeds one by one; not with networks that torch compiles.
    """
    training = config.training
    alone = accelerator.num_processes == 1
    return bool(
        training.cuda_graphs == "auto"
        and accelerator.device.type == "cuda"
        and (alone or not training.sync_batch_norm)
        and training.grad_accum_steps == 1
        and training.compile == "off"
    )


def ranks_and_device() -> tuple[int, str]:
    """Return the world size and the type of this rank's device, once `make_accelerator` was called.

    Before that, 1 and cpu.
    """
    if not PartialState._shared_state:
        return 1, "cpu"
    state = PartialState()
    return state.num_processes, state.device.type


def leave_ranks() -> None:
    """End the connection to the other ranks, if any, whose threads could abort the exit."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors for the tensors of the next step.

    By default it returns large blocks to the kernel, which clears every page again in each step;
    that took up to a fifth of the time (docs/performance.md). Other C libraries are unaffected.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
