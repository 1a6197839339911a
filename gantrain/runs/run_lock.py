"""One process at a time trains in a run directory."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gantrain.common.errors import UserError

LOCK = ".lock"


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the run directory; the kernel lets go of it when the process ends, however it ends.

    A directory that was made for it and never used is removed again.
    Raises UserError if another process holds it. On a file system without locks nothing is held.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / LOCK
    try:
        yield from _hold(path, run_dir)
    except BaseException:
        if [entry.name for entry in run_dir.iterdir()] == [LOCK]:
            path.unlink()
            run_dir.rmdir()
        raise


def _hold(path: Path, run_dir: Path) -> Iterator[None]:
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{run_dir} is in use by {file.read().strip() or 'another process'}; wait for it "
                "to end, or choose another output.run_dir."
            ) from None
        except OSError:  # ENOLCK and the like
            yield
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
