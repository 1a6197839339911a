"""Parallel map over processes, in order and in bounded memory."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, get_context, resource_tracker
from typing import TypeVar

from gantrain.common.errors import UserError
from gantrain.common.stopping import INTERRUPTING, PREEMPTING

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Return the number of cores available to this process."""
    return len(os.sched_getaffinity(0))


def start_fork_server() -> None:
    """Start multiprocessing's fork server with all signals that stop a program blocked.

    Slurm and a terminal send them to every process. Only this one handles them, and it needs its
    workers until it has; they would print tracebacks besides.
    """
    resource_tracker.ensure_running()  # else the fork server starts it, which unblocks signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*PREEMPTING, *INTERRUPTING})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PREEMPTING)  # a pool ends its workers with SIGTERM


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
    start_fork_server()
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
