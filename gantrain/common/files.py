"""Atomic writes: a file or a folder is replaced in one step, complete or not at all."""

import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from gantrain.common.errors import os_reason

_SYSTEM_FILES = (".ds_store", "thumbs.db", "desktop.ini", ".localized", ".directory")


def is_system_file(name: str) -> bool:
    """Return whether a file name is one that desktop systems add to folders by themselves."""
    return name.startswith("._") or name.casefold() in _SYSTEM_FILES


def file_system_time(folder: Path) -> float:
    """Return the time by the clock that a file system dates its files with, as Unix time.

    On a shared file system it is the server's: files of machines with different clocks compare. In
    a folder that cannot be written to, it is this machine's.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


@contextmanager
def replacing(path: Path, *, durable: bool = True, concurrent: bool = False) -> Iterator[Path]:
    """Yield a temporary path, which replaces the file at `path` when the block ends.

    If the block raises, `path` stays as it is. The temporary file of a process that died is
    overwritten by the next writer.

    durable: fsync the new file before it replaces the old one, so that a power cut loses neither.
    concurrent: several processes may write the same file at once. Each has a temporary file of its
    own, which stays if the process dies; the last one to finish wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unique = f".{secrets.token_hex(4)}" if concurrent else ""
    temporary = path.with_name(f".{path.name}{unique}.tmp")
    try:
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.filename == str(temporary):  # a name that the user has never seen
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a new, empty folder, which replaces the folder at `path` when the block ends.

    It is a hidden sibling of `path`. If the block raises, it is removed and `path` stays as it is.
    An existing folder is renamed aside, the new one renamed in, and the old one removed. Between
    the two renames there is nothing at `path`. A process that dies leaves hidden siblings behind;
    `remove_leftovers` deals with them.

    durable: fsync the files in the folder, and the renames.
    """
    staging = _sibling(path, "partial")
    try:
        staging.mkdir(parents=True)
        yield staging
        if durable:
            for written in (*staging.rglob("*"), staging):
                sync(written)
        _swap_in(staging, path)
        if durable:
            sync(path.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _swap_in(staging: Path, path: Path) -> None:
    if not path.exists() or not any(path.iterdir()):
        staging.rename(path)
        return
    old = _sibling(path, "old")
    path.rename(old)
    try:
        staging.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Remove what dead writers of a folder left behind, and restore the folder if it is missing.

    Call it only while no other process writes the same folder.
    """
    for old in _siblings(path, "old"):
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(path)
    for partial in partial_folders(path):
        shutil.rmtree(partial, ignore_errors=True)


def partial_folders(path: Path) -> list[Path]:
    """Return the incomplete folders that `replacing_folder` is writing, or was when it died."""
    return _siblings(path, "partial")


def _sibling(path: Path, role: str) -> Path:
    return path.with_name(f".{path.name}.{role}-{secrets.token_hex(4)}")


def _siblings(path: Path, role: str) -> list[Path]:
    start = f".{path.name}.{role}-"
    if not path.parent.is_dir():
        return []
    return sorted(each for each in path.parent.iterdir() if each.name.startswith(start))


def unwritable_reason(path: Path, *, folder: bool = False) -> str | None:
    """Return why no file, or folder, can be written at this path, as far as that is plain now.

    Nothing is created: neither the file nor its folder.
    """
    try:
        if path.exists() and path.is_dir() != folder:
            return "a file is there already" if folder else "Is a directory"
        if not folder and path.exists() and not path.is_file():
            return "not a regular file"
        for place in (path, *path.parents) if folder else path.parents:
            if os.path.lexists(place):
                with TemporaryFile(dir=place):
                    return None
    except OSError as error:
        return os_reason(error)
    return None


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object, *, durable: bool = True) -> None:
    """Replace a JSON file in one step."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", "utf-8")


def append_json(path: Path, content: object) -> None:
    """Append one line of JSON to a file, in one write."""
    append_text(path, json.dumps(content, allow_nan=False) + "\n")


def append_text(path: Path, lines: str) -> None:
    """Append whole lines to a file, in one write.

    If a process that was killed, or a full disk, left half a line at the end, they begin a new one.
    """
    with path.open("ab+", buffering=0) as file:
        content = lines.encode()
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                content = b"\n" + content
        written = file.write(content)
        while written < len(content):  # the disk is full: the next write says so
            written += file.write(content[written:])


def sync(path: Path) -> None:
    """Fsync a file's content, or a folder's entries."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
