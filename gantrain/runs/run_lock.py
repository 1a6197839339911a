"""The lock of a run directory: one process at a time trains in it."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from gantrain.common.errors import UserError
from gantrain.common.locks import file_lock
from gantrain.runs.paths import LOCK


def lock_owner(run_dir: Path) -> str:
    """Return who holds the run directory's lock, as in "process 12 on n1"; empty if nobody does."""
    path = run_dir / LOCK
    if not path.exists():
        return ""
    try:
        with file_lock(path, wait=False, mode=0o666):
            return ""
    except BlockingIOError:
        return _owner(path)
    except OSError:  # run_lock itself says why, when it takes the lock
        return ""


@contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold the run directory's lock while the block runs; create the directory if it is missing.

    If the block raises and nothing else was written to the directory, the directory is removed.
    On a file system without locks the block runs without one.
    Raises UserError if another process holds the lock.
    """
    path = run_dir / LOCK
    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(file_lock(path, wait=False, mode=0o666))
        except BlockingIOError:
            raise UserError(
                f"{run_dir} is in use by {_owner(path)}; wait for it to end, or choose another "
                "output.run_dir."
            ) from None
        try:
            if descriptor is not None:
                os.truncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            yield
        except BaseException:
            if [entry.name for entry in run_dir.iterdir()] == [LOCK]:
                path.unlink()
                run_dir.rmdir()
            raise


def _owner(path: Path) -> str:
    with suppress(OSError):  # it may just have ended
        return path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
    return "another process"
