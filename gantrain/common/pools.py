"""Parallel map over processes, in order and in bounded memory."""

import math
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import forkserver, get_context, resource_tracker
from pathlib import Path
from typing import TypeVar

from gantrain.common.errors import UserError
from gantrain.common.stopping import INTERRUPTING, PREEMPTING

# Set by what starts several runs side by side: the cores of each rank of each of them.
CORES_OF_RANK = "GANTRAIN_CORES"

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Return the number of cores available to this process: by affinity and by its cgroup's quota.

    At least 1. A container or a job limited to two cores may see all those of the machine.
    """
    return max(min(len(affinity()), _quota()), 1)


def affinity() -> set[int]:
    """Return the cores on which this process may run; where the system cannot say it, all cores."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _quota(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of cores that the cgroups of this process allow, rounded up."""
    quotas = [float(sys.maxsize)]
    with suppress(OSError, ValueError):
        for line in proc.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            folder = root / "cpu" if "cpu" in controllers.split(",") else root
            own = folder / path.lstrip("/")
            for group in (own, *own.parents):
                if group.is_relative_to(folder):
                    quotas.append(_quota_of(group))
    return math.ceil(min(quotas))


def _quota_of(group: Path) -> float:
    with suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        return float(quota) / float(period)  # "max" raises ValueError
    with suppress(OSError, ValueError):
        quota, period = (
            (group / name).read_text(encoding="utf-8")
            for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        )
        if float(quota) > 0:
            return float(quota) / float(period)
    return float(sys.maxsize)


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
