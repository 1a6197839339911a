"""The number of CPU threads of a rank: what the config, the environment and the cores allow."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch.nn.functional import conv2d

from gantrain.common.command_line import command_of
from gantrain.common.pools import CORES_OF_RANK, usable_cores
from gantrain.config import TrainingConfig

logger = logging.getLogger(__name__)

# So much slower than one thread, several take turns on shared cores and wait for each other.
_SLOWER = 1.5
_PROBE_SECONDS = 0.1


def set_threads(training: TrainingConfig) -> None:
    """Set the number of threads of this rank, before a trial if the config asks for one.

    If training.cpu_threads is no number, OMP_NUM_THREADS decides if the user set it, in the
    environment or by --num_cpu_threads_per_process; otherwise each rank gets its share of the
    cores. If that is not to be tried, and other processes keep the cores busy, a warning says so;
    the number is not lowered, since a run that is started twice must not depend on the load then.
    """
    setting = training.cpu_threads
    if isinstance(setting, int):
        torch.set_num_threads(setting)
    elif not threads_of_user():
        threads = share_of_cores()
        torch.set_num_threads(threads)
        if setting is None and threads > 1 and (slower := slowdown(threads)) > _SLOWER:
            logger.warning(
                f"cpu: {threads} threads are {slower:.1f} times slower than 1 at the moment, since "
                "other processes use the same cores; if that is not to change, train with "
                "training.cpu_threads=auto or 1."
            )


def share_of_cores(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of cores that a rank may use: by affinity, quota, ranks and the launcher.

    At least 1. The launcher divides a job's cores among the runs that train side by side.
    """
    ranks = int(environment.get("LOCAL_WORLD_SIZE", "1") or 1)
    share = usable_cores() // ranks
    with suppress(ValueError):
        share = min(share, int(environment.get(CORES_OF_RANK, "")))
    return max(share, 1)


def threads_of_user() -> bool:
    """Return whether OMP_NUM_THREADS is set, by the user rather than by a launcher."""
    if not os.environ.get("OMP_NUM_THREADS") or os.environ.get(CORES_OF_RANK):
        return False
    return not _set_by_launcher(os.getppid())


def _set_by_launcher(parent: int) -> bool:
    """Return whether OMP_NUM_THREADS is the default of the launcher that started this process.

    `accelerate launch` and `torchrun` set it to 1 unless the user has chosen a number. They are the
    parent process, whose own environment shows whether the user has.
    """
    if os.environ.get("OMP_NUM_THREADS") != "1" or not _is_launcher(command_of(parent)):
        return False
    with suppress(OSError):
        return b"OMP_NUM_THREADS=" not in Path(f"/proc/{parent}/environ").read_bytes()
    return False


def _is_launcher(command: Sequence[str]) -> bool:
    if any(part.startswith("--num_cpu_threads_per_process") for part in command):
        return False
    names = {Path(part).name for part in command[:4]}
    return bool(names & {"accelerate", "accelerate-launch", "torchrun"}) or any(
        part.startswith(("accelerate.commands", "torch.distributed")) for part in command[:4]
    )


def slowdown(threads: int) -> float:
    """Return how many times slower than with one thread a convolution is with `threads`.

    It takes 0.2 seconds, hardly more where threads wait for each other.
    """
    images, weights = torch.zeros(16, 16, 32, 32), torch.zeros(16, 16, 3, 3)
    before, seconds = torch.get_num_threads(), {}
    for number in (threads, 1):
        torch.set_num_threads(number)
        conv2d(images, weights)
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < _PROBE_SECONDS:
            conv2d(images, weights)
            calls += 1
        seconds[number] = (time.perf_counter() - start) / calls
    torch.set_num_threads(before)
    return seconds[threads] / seconds[1]
