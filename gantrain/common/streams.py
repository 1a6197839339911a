"""Standard output and error of a program whose listeners may leave.

A pager that quits, `| head`, a closed terminal, a full disk under a log file: what is printed is
lost then, and the program continues.
"""

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

_NOBODY_LISTENS = (errno.EPIPE, errno.EIO)  # a pipe without a reader, a terminal that is gone

_losses: dict[str, OSError] = {}


@contextmanager
def tolerant_streams() -> Iterator[None]:
    """Within it, printing to stdout and stderr raises no OSError; `losses` has what went wrong.

    Closed ones are connected to nowhere: otherwise the next file that is opened would get what is
    printed. Characters that the encoding lacks are escaped. Streams that are not the process's own,
    as in tests, are left alone.
    """
    _losses.clear()
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _tolerant(before[0], 1), _tolerant(before[1], 2)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream not in before:
                stream.flush()
        sys.stdout, sys.stderr = before


def losses() -> dict[str, OSError]:
    """Return the first error of each stream that has lost something, by the stream's name."""
    return dict(_losses)


def listener_left() -> bool:
    """Return whether nobody reads stdout any more. A loop that only prints should end then."""
    error = _losses.get("stdout")
    if error is not None:
        return error.errno in _NOBODY_LISTENS
    poll = select.poll()
    poll.register(1, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))  # a pipe without a reader


class _TolerantFile(io.FileIO):
    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)

    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
            while written is None:  # another process made the terminal non-blocking
                select.select([], [self], [])
                written = super().write(data)
            return written
        except OSError as error:
            _losses.setdefault("stdout" if self.fileno() == 1 else "stderr", error)
            if error.errno in _NOBODY_LISTENS:
                _to_nowhere(self.fileno())  # also for libraries that write to the descriptor
            return memoryview(data).nbytes


def _tolerant(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:  # it was closed when Python started
        return io.TextIOWrapper(io.BufferedWriter(_TolerantFile(descriptor)), "utf-8")
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if (
        not isinstance(stream, io.TextIOWrapper)
        or type(raw) is not io.FileIO
        or raw.fileno() != descriptor
    ):
        return stream
    with suppress(OSError):
        stream.flush()
    tolerant = _TolerantFile(descriptor)
    return io.TextIOWrapper(
        tolerant if buffer is raw else io.BufferedWriter(tolerant),
        encoding=stream.encoding,
        # In the locale C it is surrogateescape, which also fails for what ASCII lacks.
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _open_closed_descriptors() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            _to_nowhere(descriptor)


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
