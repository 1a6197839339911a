"""The number of CPU threads of a rank."""

import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch.nn.functional import conv2d

from gantrain.common.command_line import command_of
from gantrain.common.pools import usable_cores

logger = logging.getLogger(__name__)

# So much slower than one thread, several take turns on shared cores and wait for each other.
_SLOWER = 1.5
_PROBE_SECONDS = 0.1


def set_threads(threads: int | None) -> None:
    """Set the number of threads of this rank.

    threads: training.cpu_threads. If it is None, OMP_NUM_THREADS decides if the user set it, in the
    environment or by --num_cpu_threads_per_process; otherwise each rank gets its part of the cores
    that this process may use. If other processes keep these busy, a warning says so. The number is
    not lowered then: sums are in another order with another number of threads, and a run that is
    started twice must not depend on the load.
    """
    if threads is not None:
        torch.set_num_threads(threads)
        return
    if os.environ.get("OMP_NUM_THREADS") and not _set_by_launcher(os.getppid()):
        return
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1") or 1)
    threads = max(usable_cores() // ranks, 1)
    torch.set_num_threads(threads)
    if threads > 1 and (slower := _slowdown(threads)) > _SLOWER:
        logger.warning(
            f"cpu: {threads} threads are {slower:.1f} times slower than 1 at the moment, since "
            "other processes use the same cores; if that is not to change, train with "
            "OMP_NUM_THREADS=1 or training.cpu_threads=1."
        )


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


def _slowdown(threads: int) -> float:
    """Return how many times slower than with one thread a convolution is with `threads`."""
    images, weights = torch.zeros(16, 16, 32, 32), torch.zeros(16, 16, 3, 3)
    seconds = {}
    for number in (threads, 1):
        torch.set_num_threads(number)
        conv2d(images, weights)
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < _PROBE_SECONDS:
            conv2d(images, weights)
            calls += 1
        seconds[number] = (time.perf_counter() - start) / calls
    torch.set_num_threads(threads)
    return seconds[threads] / seconds[1]
