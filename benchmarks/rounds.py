"""A contender's side of the training benchmark: it trains in rounds, when it is told to.

Plain Python, since the book's contender has an environment of its own. A contender that waits is
blocked in the read of a pipe. Its OpenMP threads sleep by then: libgomp's default is to spin for
some milliseconds only, so OMP_WAIT_POLICY stays what users have, nothing.
"""

import ctypes
import itertools
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_PR_SET_PDEATHSIG = 1


class NoMoreRounds(BaseException):
    """The benchmark wants no more rounds. No Exception, so that training loops let it through."""


class Link:
    """The pipes to the benchmark: orders come, reports go, a line each."""

    def __init__(self, orders: int, reports: int) -> None:
        self._orders = os.fdopen(orders, "r")
        self._reports = os.fdopen(reports, "w")

    def report(self, **values: Any) -> None:
        self._reports.write(json.dumps(values) + "\n")
        self._reports.flush()

    def order(self) -> int:
        """Wait for the next round; gives its number of iterations."""
        line = self._orders.readline()
        if not line:
            raise NoMoreRounds
        return int(line)


class Pacer:
    """Cuts an endless training into a warm-up and rounds.

    images: that D sees in an iteration. library: told to the benchmark with the warm-up's speed.
    extra: gives what else is reported of a round that has ended.
    """

    def __init__(
        self,
        link: Link,
        images: int,
        warmup: int,
        library: str = "",
        extra: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._link = link
        self._images = images
        self._library = library
        self._extra = extra
        self._length = self._left = warmup
        self._began = time.perf_counter()
        self._warm = False

    def before_iteration(self) -> None:
        """Call it when an iteration is complete and before the next one fetches its data."""
        if self._left == 0:
            self._end_round()
            self._length = self._left = self._link.order()
            self._began = time.perf_counter()
        elif not self._warm and self._left == (self._length + 1) // 2:
            self._began = time.perf_counter()  # the first iterations are slower
        self._left -= 1

    def _end_round(self) -> None:
        seconds = time.perf_counter() - self._began
        extra = self._extra()
        if self._warm:
            images = self._length * self._images
            self._link.report(images=images, seconds=seconds, memory=peak_memory(), **extra)
        else:
            self._warm = True
            measured = (self._length + 1) // 2
            self._link.report(seconds_per_iteration=seconds / measured, library=self._library)


def paced(batches: Iterator[T], pacer: Pacer, per_iteration: int) -> Iterator[T]:
    """The same batches, stopping between rounds; so many are an iteration."""
    for i in itertools.count():
        if i % per_iteration == 0:
            pacer.before_iteration()
        yield next(batches)


def peak_memory() -> int:
    """The most bytes of memory that this process has held."""
    # ru_maxrss is the same count, but a new program inherits it from whoever started it.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def die_with_parent() -> None:
    """Let the kernel end this process when the benchmark ends, however it does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
