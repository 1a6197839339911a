"""Python processes that lack what another machine lacks: packages, or what only Linux has."""

from collections.abc import Sequence
from pathlib import Path

_HIDE_PACKAGES = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, *arguments):
        hidden = name.partition(".")[0] in {packages!r}
        return None if hidden else PathFinder.find_spec(name, *arguments)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""
_HIDE_LINUX = """
import builtins, io, os, pathlib
for name in ("sched_getaffinity", "sched_setaffinity", "posix_fallocate", "posix_fadvise", "pipe2",
             "memfd_create", "sendfile", "copy_file_range", "getrandom", "fdatasync", "eventfd"):
    if hasattr(os, name):
        delattr(os, name)

def hide_proc(call, absent):
    def hiding(path, *arguments, **options):
        return absent(path) if str(path).startswith("/proc") else call(path, *arguments, **options)
    return hiding

def missing(path):
    raise FileNotFoundError(2, "No such file or directory", str(path))

builtins.open = io.open = hide_proc(io.open, missing)
pathlib.Path.is_dir = hide_proc(pathlib.Path.is_dir, lambda path: False)
"""


def python_path(folder: Path, *, without: Sequence[str] = (), linux: bool = True) -> str:
    """Return a PYTHONPATH whose processes, and their children, find less than there is.

    folder: a new one. without: packages that cannot be imported. linux: whether there are /proc and
    the functions of `os` that macOS lacks.
    """
    folder.mkdir()
    text = _HIDE_PACKAGES.format(packages=set(without)) + ("" if linux else _HIDE_LINUX)
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")
    return str(folder)
