"""The processes that decode for a stream, and the signals blocked in them."""

import os
from collections.abc import Iterable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

import torch

from gantrain.common.pools import start_fork_server


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
    start_fork_server()
    return context


def kill(processes: Iterable[BaseProcess]) -> None:
    """Kill processes, including stopped ones, which multiprocessing would wait for at exit."""
    for process in processes:
        process.kill()
