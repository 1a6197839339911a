"""Files that several users share: which permissions new files get, and why one cannot be used."""

import errno
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

from gantrain.common.errors import os_reason

_HINTS = {
    errno.ENOSPC: "free some space and try again",
    errno.EDQUOT: "free some space and try again",
    errno.EROFS: "choose a directory on a file system that can be written",
    errno.EISDIR: "a directory is where a file belongs; move it away",
    errno.ENOTDIR: "a file is where a directory belongs; move it away",
}


def explain(error: OSError) -> str:
    """Return what went wrong, with which file, and what to do about it, as one line."""
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    reason = f"{path}: {os_reason(error)}" if path else os_reason(error)
    hint = _HINTS.get(error.errno or 0, "")
    if path and error.errno in (errno.EACCES, errno.EPERM):
        hint = _who_may_write(path)
    return f"{reason}; {hint}." if hint else f"{reason}."


def follow_group_access(folder: Path) -> None:
    """Let this process and its children create files that the group may write, if `folder` says so.

    A folder with the setgid bit that its group may write is shared by that group. Files are created
    with the rights that the umask leaves; the group's are added to it in such a folder.

    folder: where files will be created; if it is missing, its nearest parent counts.
    """
    try:
        folder = folder.absolute()
    except OSError:  # the working directory is gone, which the first file to be written will tell
        return
    for existing in (folder, *folder.parents):
        with suppress(OSError):
            mode = existing.stat().st_mode
            if mode & stat.S_ISGID and mode & stat.S_IWGRP:
                os.umask(_umask() & ~0o070)
            return


def apply_umask(path: Path) -> None:
    """Give a file that a library created as private the rights that the umask leaves to others."""
    path.chmod(0o666 & ~_umask())


def _umask() -> int:
    # Setting the umask to read it would affect the files that other threads create meanwhile.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _who_may_write(path: Path) -> str:
    for existing in (path, *path.parents):
        try:
            status = existing.stat()
        except OSError:
            continue
        owner = str(status.st_uid)
        with suppress(KeyError):
            owner = pwd.getpwuid(status.st_uid).pw_name
        rights = stat.filemode(status.st_mode)
        return (
            f"{existing} belongs to {owner} and has the rights {rights}; to share a directory with "
            "your group, its owner runs `chmod -R g+rwX` and `chmod g+s` on it"
        )
    return ""
