"""Which tars a command's arguments name: paths, folders, shell globs and brace patterns."""

import glob
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import braceexpand

from gantrain.common.errors import UserError, os_reason
from gantrain.data.importing.filenames import natural_order
from gantrain.data.importing.tar_scan import compression_of
from gantrain.data.importing.tars import has_name
from gantrain.data.shards.manifest import is_shard_name

_URL = re.compile(r"[a-z0-9]+:/")


def find_tars(arguments: Sequence[Path]) -> list[Path]:
    """Return the tars that arguments name, each once, in natural order.

    An argument is the path of a tar, a folder of tars, or a pattern such as `{000..009}.tar` or
    `*.tar`.

    Raises UserError naming the argument or the file if there is no such tar, if one is compressed
    or has a name that a manifest cannot list, or if they are in several folders.
    """
    found = [path for argument in arguments for path in _matches(argument)]
    for path in found:
        _check(path)
    _check_folder(found)
    return sorted(
        {path.name: path for path in found}.values(), key=lambda path: natural_order(path.name)
    )


def _matches(argument: Path) -> list[Path]:
    text = str(argument)
    if _URL.match(text):
        raise UserError(f"{text}: a URL; index the tars where they are files, then serve them.")
    try:
        mode = argument.stat().st_mode
    except OSError as error:
        if isinstance(error, FileNotFoundError) and (matches := _expand(text)):
            return matches
        raise UserError(
            f"{text}: {os_reason(error)}; expected a tar, a folder of tars, or a pattern such as "
            "{000..009}.tar."
        ) from None
    return _in_folder(argument) if stat.S_ISDIR(mode) else [argument]


def _in_folder(folder: Path) -> list[Path]:
    try:
        paths = [p for p in folder.iterdir() if not p.name.startswith(".") and has_name(p.name)]
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({os_reason(error)}).") from None
    plain = [path for path in paths if path.name.endswith(".tar")]
    if not paths:
        raise UserError(f"{folder}: contains no tars; expected some, named *.tar.")
    return plain or paths


def _expand(text: str) -> list[Path]:
    """Return the files that match a pattern.

    Raises UserError if one of those that braces name is missing.
    """
    try:
        names = list(braceexpand.braceexpand(text))
    except ValueError:  # a single brace
        names = [text]
    matches: list[Path] = []
    for name in names:
        here = [Path(name)] if Path(name).exists() else _glob(name)
        if not here and len(names) > 1:
            raise UserError(f"{name}: no such file; {text} names it.")
        matches += here
    return matches


def _glob(pattern: str) -> list[Path]:
    return [Path(name) for name in glob.glob(pattern)]  # noqa: PTH207 - it may be absolute


def _check(path: Path) -> None:
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
        compression = compression_of(path) if regular else ""
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({os_reason(error)}).") from None
    if not regular:
        raise UserError(f"{path}: not a regular file; expected a tar.")
    if compression:
        raise UserError(
            f"{path}: compressed ({compression}), so that its images cannot be read one by one; "
            f"import it with `gantrain data import {path} TARGET`, or decompress it first."
        )
    if not is_shard_name(path.name):
        raise UserError(
            f"{path}: expected a name of letters, digits, '_', '-' and '.' that ends in .tar; "
            "rename the file, or index a link to it."
        )


def _check_folder(tars: Iterable[Path]) -> None:
    folders: dict[Path, Path] = {}
    for path in tars:
        folders.setdefault(path.parent.resolve(), path)
    if len(folders) > 1:
        first, second, *_ = folders.values()
        raise UserError(
            f"{first} and {second} are in different folders, but a manifest lists the tars of one. "
            "Index each folder by itself, or make a folder of links to all (ln -s) and index that."
        )
