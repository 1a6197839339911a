"""The worker's side of the training benchmark: run one round at a time, on request.

Uses the standard library only, because the book's implementation runs in its own environment. A
waiting worker blocks on a pipe. Its OpenMP threads are asleep by then: libgomp spins for a few
milliseconds by default, so OMP_WAIT_POLICY can stay unset, as it is for most users.
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
    """The benchmark is over. Not an Exception, so that training loops do not catch it."""


class Channel:
    """The pipes to the benchmark process: requests come in and results go out, a line each."""

    def __init__(self, requests: int, results: int) -> None:
        self._requests = os.fdopen(requests, "r")
        self._results = os.fdopen(results, "w")

    def send(self, **values: Any) -> None:
        """Send a result, as a line of JSON."""
        self._results.write(json.dumps(values) + "\n")
        self._results.flush()

    def next_round(self) -> int:
        """Wait for a request and return its number of iterations.

        Raises NoMoreRounds if the benchmark has closed the pipe.
        """
        line = self._requests.readline()
        if not line:
            raise NoMoreRounds
        return int(line)


class Pacer:
    """Splits an endless training loop into a warm-up and rounds, and reports each round.

    images: images that D sees in an iteration, on this rank.
    warmup: iterations of the warm-up.
    library: name and version of the library, reported with the speed of the warm-up.
    extra: returns additional values to report when a round ends.
    wait: waits for what a GPU still has to do, before the clock is read.
    """

    def __init__(
        self,
        channel: Channel,
        images: int,
        warmup: int,
        library: str = "",
        extra: Callable[[], dict[str, Any]] = dict,
        wait: Callable[[], object] = lambda: None,
    ) -> None:
        self._channel = channel
        self._images = images
        self._library = library
        self._extra = extra
        self._wait = wait
        self._length = self._left = warmup
        self._started = time.perf_counter()
        self._warm = False

    def before_iteration(self) -> None:
        """Call this between two iterations, before the data of the next one is fetched.

        Raises NoMoreRounds if the benchmark is over.
        """
        if self._left == 0:
            self._wait()
            self._end_round()
            self._length = self._left = self._channel.next_round()
            self._started = time.perf_counter()
        elif not self._warm and self._left == (self._length + 1) // 2:
            self._wait()
            self._started = time.perf_counter()  # the first iterations are slower
        self._left -= 1

    def _end_round(self) -> None:
        seconds = time.perf_counter() - self._started
        extra = self._extra()
        if self._warm:
            images = self._length * self._images
            values = {"images": images, "seconds": seconds, "memory": peak_memory(), **extra}
            self._channel.send(**values)
        else:
            self._warm = True
            measured = (self._length + 1) // 2
            self._channel.send(seconds_per_iteration=seconds / measured, library=self._library)


def paced(batches: Iterator[T], pacer: Pacer, per_iteration: int) -> Iterator[T]:
    """Yield the batches, pausing between rounds. per_iteration: batches in an iteration."""
    for i in itertools.count():
        if i % per_iteration == 0:
            pacer.before_iteration()
        yield next(batches)


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes."""
    # ru_maxrss is the same count, but a new program inherits it from its parent process.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def die_with_parent() -> None:
    """Have the kernel kill this process when the benchmark process ends, for whatever reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
