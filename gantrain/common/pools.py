"""Parallel map over processes, in order and in bounded memory."""

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
    """Return the number of cores available to this process."""
    return len(os.sched_getaffinity(0))


def _unblock_signals() -> None:
    # A fork server that `decoder_context` started passes on blocked signals, but a pool ends its
    # workers with SIGTERM.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})


def map_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    pending_per_worker: int = 8,
) -> Iterator[Result]:
    """Yield function(item) for each item, in order, computed by `workers` processes.

    workers: None uses all available cores; 1 computes in this process.
    pending_per_worker: bounds memory: at most workers * pending_per_worker items are in flight.

    Errors raised by `function` propagate. Raises UserError if a worker is killed or `workers` is
    less than 1.
    """
    workers = usable_cores() if workers is None else workers
    if workers < 1:
        raise UserError(f"workers is {workers}; expected at least 1.")
    if workers == 1:
        yield from map(function, items)
        return
    # Not fork: a forked child would inherit locks held by this process's threads.
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("forkserver"), initializer=_unblock_signals
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
            "A worker process was killed, possibly for lack of memory. Try again with --workers 1."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
