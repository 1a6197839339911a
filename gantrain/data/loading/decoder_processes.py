"""The processes that decode for a stream, and what signals may do to them."""

import signal
from collections.abc import Iterable
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

import torch

# Slurm sends them to every process of a job; the training answers them, and needs its images
# until it has saved itself.
_FOR_THE_TRAINING = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM}


def decoder_context() -> ForkServerContext:
    """What starts decoding processes: from a server of its own, since a fork of this process would
    copy locks that its threads hold.

    They inherit that the signals of a stop are blocked; they end when they are told to, or when
    this process is gone.
    """
    context: ForkServerContext = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gantrain.data.loading.stream"])
    resource_tracker.ensure_running()  # which else the server starts, and unblocks signals for it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_TRAINING)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def end(processes: Iterable[BaseProcess]) -> None:
    """Kill processes, stopped ones too: whoever waits for them at exit would wait for ever."""
    for process in processes:
        process.kill()
