"""Which code runs: a digest of its files, and the git commit that they are of."""

import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.records import read_object

ORIGIN = "origin.json"  # beside the packages in a copy of the code: the commit that they are of
_NO_CODE = {"__pycache__", "templates"}
_SUFFIXES = {".py", ".yaml", ".json"}
_GIT_SECONDS = 5.0  # a work tree on a slow file system takes long


@dataclass(frozen=True)
class GitState:
    """A work tree of git. changed: whether tracked files differ from the commit; None: unknown."""

    folder: str
    commit: str
    changed: bool | None

    def to_record(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def package_files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and the path of each file of a package that is code, in a fixed order."""
    for path in sorted(root.rglob("*")):
        if path.suffix in _SUFFIXES and not _NO_CODE & {*path.relative_to(root).parts}:
            yield f"{root.name}/{path.relative_to(root)}", path


def digest_files(files: Iterable[tuple[str, Path]]) -> str:
    """Return 12 hexadecimal digits that tell apart different names and contents of files."""
    digest = hashlib.sha256()
    for name, path in files:
        digest.update(f"{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def git_state(folder: Path) -> GitState | None:
    """Return the work tree that a folder is in; None without one, or without git or a commit."""
    found = _git(folder, "rev-parse", "--show-toplevel", "HEAD")
    if found is None or len(lines := found.splitlines()) != 2:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return GitState(lines[0], lines[1], None if changes is None else bool(changes))


def git_state_of_package(root: Path) -> GitState | None:
    """Return the commit that a package's files are of; None if it is not known.

    A package that is installed into somebody's project is in their work tree, but not of it.
    """
    try:
        origin = read_object(root.parent / ORIGIN)
        return GitState(str(root.parent), str(origin["commit"]), bool(origin["changed"]))
    except (UserError, KeyError):
        pass
    if _git(root, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return git_state(root)


def _git(folder: Path, *arguments: str) -> str | None:
    """Return the output of git; None if it fails, is missing or takes too long."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_GIT_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # status would refresh the index
        )
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
