"""A folder that appears whole or not at all, however its writer dies."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gantrain.common.errors import UserError
from gantrain.common.locks import file_lock
from gantrain.data.shards.manifest import MANIFEST_NAME

REPORT_NAME = "import-report.json"

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn an OSError of the block into one UserError that names the target."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        advice = "Free some space" if error.errno in _FULL else "Choose another target"
        raise UserError(
            f"{target}: cannot be written ({reason}); nothing was kept. {advice} and try again."
        ) from None


@contextmanager
def staged_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder, which becomes `target` when the block ends well.

    The folder is a hidden sibling of the target. At the end its files are synced to disk, and one
    rename puts it in place. If the block raises, it is removed; if the process dies, the next
    writer of the same target removes it.

    With `overwrite`, an older set is renamed aside, the new one renamed in, and the old one
    removed. Between the two renames (microseconds) there is nothing at the target; a writer that
    dies right there leaves both sets whole, and the next one puts the old set back.

    Raises UserError if the target holds anything and `overwrite` is False, if it holds what is no
    set of shards, if another process is writing it, or if the disk refuses.
    """
    with writing(target):
        target = Path(os.path.realpath(target))  # a link stays, what it points to is written
        target.parent.mkdir(parents=True, exist_ok=True)
    with _single_writer(target) as locked:
        with writing(target):
            if locked:
                _sweep(target)
            _check_free(target, overwrite)
            staging = _sibling(target, "partial")
            staging.mkdir()
        try:
            yield staging
            with writing(target):
                for path in staging.iterdir():
                    _sync(path)
                _sync(staging)
                _put_in_place(staging, target)
                _sync(target.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _put_in_place(staging: Path, target: Path) -> None:
    if not target.exists() or not any(target.iterdir()):
        staging.rename(target)
        return
    old = _sibling(target, "old")
    target.rename(old)
    try:
        staging.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Finish what dead writers of this target left."""
    for old in _siblings(target, "old"):
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)
    for partial in _siblings(target, "partial"):
        shutil.rmtree(partial, ignore_errors=True)


def _check_free(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError(f"{target}: a file; expected a folder to write, or none yet.")
    names = sorted(path.name for path in target.iterdir())
    if not names:
        return
    if not overwrite:
        raise UserError(
            f"{target}: already holds {names[0]}; choose another folder, or replace the set that "
            "is there with --overwrite."
        )
    foreign = [
        name
        for name in names
        if name not in (MANIFEST_NAME, REPORT_NAME) and not name.endswith(".tar")
    ]
    if foreign or MANIFEST_NAME not in names:
        what = f"{foreign[0]} in it is no part of one" if foreign else f"no {MANIFEST_NAME} in it"
        raise UserError(
            f"{target}: not a set of shards ({what}), so --overwrite leaves it alone. Choose "
            "another folder, or remove it yourself."
        )


@contextmanager
def _single_writer(target: Path) -> Iterator[bool]:
    """Hold the target's lock while the block runs.

    Yields False on a file system without locks: leftovers may then belong to a live writer.
    Raises UserError if another process is writing the target.
    """
    path = target.parent / f".{target.name}.lock"
    with ExitStack() as stack:
        with writing(target):
            try:
                lock = stack.enter_context(file_lock(path, wait=False, mode=0o644, remove=True))
            except BlockingIOError:
                raise UserError(
                    f"{target}: another process is writing this folder (it holds {path.name}); "
                    "wait for it, or choose another folder."
                ) from None
        yield lock is not None


def _sibling(target: Path, role: str) -> Path:
    return target.parent / f".{target.name}.{role}-{secrets.token_hex(4)}"


def _siblings(target: Path, role: str) -> list[Path]:
    start = f".{target.name}.{role}-"
    return sorted(path for path in target.parent.iterdir() if path.name.startswith(start))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
