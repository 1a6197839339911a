"""One process of a machine does a piece of work while the others wait for it, and not for ever."""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gantrain.common.errors import UserError

logger = logging.getLogger(__name__)

_POLL = 0.05  # seconds
_FIRST_WORD = 2.0  # seconds of waiting before the user hears of it
_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


@contextmanager
def sole_worker(
    lock: Path, what: str, *, progress: Callable[[], object], patience: float
) -> Iterator[None]:
    """Hold a lock file while the block runs; the kernel releases it however this process ends.

    what: the work, for people, as in "fill the cache".
    progress: gives a value that changes while another process gets on with the work.
    patience: longest wait without such a change, in seconds.

    Where the file system has no locks the block runs at once, beside others.
    Raises UserError if the other process makes no progress for too long, OSError if there can be
    no such file.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait(handle, lock, what, progress, patience)
        yield
    finally:
        os.close(handle)  # The file stays: removing it would let a third process slip in.


def _wait(
    handle: int,
    lock: Path,
    what: str,
    progress: Callable[[], object],
    patience: float,
) -> None:
    start = changed = time.monotonic()
    next_word, seen = start + _FIRST_WORD, progress()
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return
            raise
        now, found = time.monotonic(), progress()
        if found != seen:
            seen, changed = found, now
        if now - changed > patience:
            raise UserError(
                f"{lock}: another process holds this lock to {what}, and has made no progress for "
                f"{patience:g} seconds. End that process, or wait longer with data.timeout_s."
            )
        if now > next_word:
            logger.info(f"waiting for another process to {what} ({now - start:.0f} s so far)")
            next_word = now + max(10.0, now - start)
        time.sleep(_POLL)


def size_and_time(path: Path) -> tuple[int, int]:
    """The length of a file and when it last changed, which tells a wait of progress."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
