"""Where a sweep file's relative paths lead, whatever directory a command is called from."""

import os
from pathlib import Path

_MARKS = ("configs", "pyproject.toml", ".git")


def project_of(sweep_file: Path) -> Path | None:
    """Return the nearest directory above a sweep file that looks like a project; None without one.

    It has a folder `configs`, a `pyproject.toml` or a `.git`.
    """
    folders = _absolute(sweep_file).parents
    return next((f for f in folders if any((f / mark).exists() for mark in _MARKS)), None)


def root_of(sweep_file: Path) -> Path:
    """Return the project of a sweep file, or the file's own folder without one."""
    return project_of(sweep_file) or _absolute(sweep_file).parent


def as_seen_from_here(path: Path) -> Path:
    """Return a path relative to the working directory if it is inside, else as it is."""
    here = Path.cwd()
    inside = path.is_relative_to(here) and here != Path(here.anchor)
    return path.relative_to(here) if inside else path


def _absolute(path: Path) -> Path:
    # Not resolved: a project may have a link to configs that are elsewhere.
    return Path(os.path.normpath(path.absolute()))
