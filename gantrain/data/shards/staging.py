"""The folder of a set of shards: one writer at a time, complete or not there."""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gantrain.common.errors import UserError, os_reason
from gantrain.common.files import is_system_file, remove_leftovers, replacing_folder
from gantrain.common.locks import file_lock
from gantrain.data.shards.manifest import MANIFEST_NAME

REPORT_NAME = "import-report.json"

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def write_errors(target: Path) -> Iterator[None]:
    """Turn an OSError of the block into a UserError that names the target."""
    try:
        yield
    except OSError as error:
        reason = os_reason(error)
        advice = "Free some space" if error.errno in _DISK_FULL else "Choose another target"
        raise UserError(
            f"{target}: cannot be written ({reason}); nothing was kept. {advice} and try again."
        ) from None


@contextmanager
def staged_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder, which becomes `target` when the block ends without error.

    If the block raises, the target stays as it was; if the process dies, the next writer of the
    target removes what is left (see `gantrain.common.files.replacing_folder`).

    overwrite: replace an existing set. A writer that dies between the two renames of the swap
        leaves no set at the target; the next writer restores the old one.

    Raises UserError if the target is not empty and `overwrite` is False, if it contains anything
    other than a set of shards, if another process is writing it, or on a disk error.
    """
    with write_errors(target):
        target = Path(os.path.realpath(target))  # a symlink stays; the folder it points to changes
        target.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        locked = stack.enter_context(single_writer(target))
        with write_errors(target):
            if locked:
                remove_leftovers(target)
            _check_free(target, overwrite)
            staging = stack.enter_context(replacing_folder(target))
        yield staging
        with write_errors(target):
            stack.close()


@contextmanager
def single_writer(target: Path) -> Iterator[bool]:
    """Hold the target's lock while the block runs.

    Yields False on a file system without locks: leftovers may then belong to a live writer.
    Raises UserError if another process is writing the target.
    """
    path = target.parent / f".{target.name}.lock"
    with ExitStack() as stack:
        with write_errors(target):
            try:
                lock = stack.enter_context(file_lock(path, wait=False, mode=0o644, remove=True))
            except BlockingIOError:
                raise UserError(
                    f"{target}: another process is writing this folder (it holds {path.name}); "
                    "wait for it, or choose another folder."
                ) from None
        yield lock is not None


def _check_free(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError(f"{target}: a file; expected a new or empty folder.")
    names = sorted(path.name for path in target.iterdir() if not is_system_file(path.name))
    if not names:
        return
    if not overwrite:
        raise UserError(
            f"{target}: already contains {names[0]}; choose another folder, or replace the "
            "existing set with --overwrite."
        )
    foreign = [
        name
        for name in names
        if name not in (MANIFEST_NAME, REPORT_NAME) and not name.endswith(".tar")
    ]
    if foreign or MANIFEST_NAME not in names:
        reason = f"it contains {foreign[0]}" if foreign else f"it has no {MANIFEST_NAME}"
        raise UserError(
            f"{target}: not a set of shards ({reason}), so --overwrite does not replace it. Choose "
            "another folder, or remove this one first."
        )
