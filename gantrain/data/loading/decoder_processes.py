"""The processes that decode for a stream, and the signals blocked in them."""

import os
import signal
from collections.abc import Iterable
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

import torch

# Slurm sends these to every process of a job. Only the trainer handles them, and it needs its
# decoders until it has saved a checkpoint.
_TRAINER_SIGNALS = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM}


def decoder_context() -> ForkServerContext:
    """Return the multiprocessing context that starts the decoding processes.

    It is a fork server, because a fork of this process would copy locks held by its threads. The
    decoding processes inherit that the trainer's signals are blocked. They end on request,
    or when this process ends.
    """
    context: ForkServerContext = torch.multiprocessing.get_context("forkserver")
    # The fork server finds modules by PYTHONPATH, which cannot name a folder with a colon, and not
    # by this process's sys.path; it could preload another version, and its children would keep it.
    preloaded = [] if os.pathsep in __file__ else ["gantrain.data.loading.stream"]
    context.set_forkserver_preload(preloaded)
    # Otherwise the fork server starts it, and unblocks the signals while doing so.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TRAINER_SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def kill(processes: Iterable[BaseProcess]) -> None:
    """Kill processes, including stopped ones, which multiprocessing would wait for at exit."""
    for process in processes:
        process.kill()
