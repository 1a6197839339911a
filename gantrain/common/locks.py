"""Advisory file locks. The kernel releases a lock however the process that holds it ends."""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from gantrain.common.errors import UserError

logger = logging.getLogger(__name__)

_UNSUPPORTED = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
_POLL_INTERVAL = 0.05  # seconds
_FIRST_LOG = 2.0  # seconds of waiting before the first log line


@contextmanager
def file_lock(
    path: Path, *, wait: bool, mode: int = 0o600, remove: bool = False
) -> Iterator[int | None]:
    """Hold an exclusive lock on a file while the block runs; yield the file's descriptor.

    Creates the file and its folder if they are missing. Yields None if the file system does not
    support locks; the block then runs without one. A child process that inherits the descriptor
    keeps the lock.

    wait: block until the lock is free, instead of raising.
    mode: permissions of a new lock file, before the umask.
    remove: delete the file at the end. By default it stays.

    Raises BlockingIOError if another process holds the lock and `wait` is False; OSError if the
    file cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, locked = _open_locked(path, wait, mode)
    try:
        yield descriptor if locked else None
    finally:
        if remove:
            with suppress(OSError):
                path.unlink()  # before the release: afterwards it may be another process's lock
        os.close(descriptor)


def _open_locked(path: Path, wait: bool, mode: int) -> tuple[int, bool]:
    """Open and lock the file; return its descriptor and whether the file system has locks."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is_same_file(path, descriptor):
                return descriptor, True
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return descriptor, False
            os.close(descriptor)
            raise
        os.close(descriptor)  # the last holder removed the file between our open and our lock


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def exclusive_task(
    lock: Path, task: str, *, progress: Callable[[], object], timeout: float
) -> Iterator[None]:
    """Let one process at a time run the block; the others wait for as long as it makes progress.

    task: what the block does, for messages, as in "fill the cache".
    progress: returns a value that changes while the other process makes progress.
    timeout: longest wait without such a change, in seconds.

    On a file system without locks the block runs at once, concurrently with other processes.
    Raises UserError if the other process makes no progress for `timeout` seconds; OSError if the
    lock file cannot be created.
    """
    with ExitStack() as stack:
        start = changed = time.monotonic()
        next_log, last = start + _FIRST_LOG, progress()
        while True:
            with suppress(BlockingIOError):
                stack.enter_context(file_lock(lock, wait=False))
                break
            now, current = time.monotonic(), progress()
            if current != last:
                last, changed = current, now
            if now - changed > timeout:
                raise UserError(
                    f"{lock}: another process holds this lock to {task} and has made no progress "
                    f"for {timeout:g} seconds. End that process, or increase data.timeout_s."
                )
            if now > next_log:
                logger.info(f"waiting for another process to {task} ({now - start:.0f} s so far)")
                next_log = now + max(10.0, now - start)
            time.sleep(_POLL_INTERVAL)
        yield


def size_and_mtime(path: Path) -> tuple[int, int]:
    """Return a file's length in bytes and modification time in ns; zeros if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
