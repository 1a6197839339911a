"""Work spread over the cores of this machine, in order and in bounded memory."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from gantrain.common.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _take_signals() -> None:
    # The fork server may have been started with these blocked (see decoders.py), and a pool ends
    # its workers by SIGTERM.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})


def map_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    pending_per_worker: int = 8,
) -> Iterator[Result]:
    """Yield function(item) for each item, in the items' order, computed by `workers` processes.

    workers: None takes all usable cores; 1 computes in this process.
    pending_per_worker: how many items a worker may be ahead of the reader, which bounds memory.

    Raises what the function raises, and UserError if a worker is killed or `workers` is not
    positive.
    """
    workers = usable_cores() if workers is None else workers
    if workers < 1:
        raise UserError(f"workers is {workers}; expected at least 1.")
    if workers == 1:
        yield from map(function, items)
        return
    # A fork of this process would copy locks that its threads hold.
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("forkserver"), initializer=_take_signals
    )
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= workers * pending_per_worker:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "A worker process was killed, perhaps for want of memory. Try again with --workers 1."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
