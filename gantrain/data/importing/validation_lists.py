"""Lists of validation images: `validation.txt` beside the images."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gantrain.common.errors import UserError, os_reason

_LIST_NAME = "validation.txt"


@dataclass(frozen=True)
class ValidationList:
    """A list of file names, one per line.

    origin: where it is, for display.
    """

    origin: Path
    text: str


def is_list_name(name: str) -> bool:
    """Return whether a file's name is `validation.txt`, in any case."""
    return name.casefold() == _LIST_NAME


def find_validation_list(source: Path) -> Path | None:
    """Return the `validation.txt` in a folder or in its parent, in any case, or None."""
    for folder in (source, source.absolute().parent):
        try:
            names = sorted(path.name for path in folder.iterdir())
        except OSError:  # the parent may not be readable
            continue
        for name in names:
            if is_list_name(name) and (folder / name).is_file():
                return folder / name
    return None


def load_validation_list(path: Path) -> ValidationList:
    """Read a list. Raises UserError if it cannot be read, or is not text."""
    try:
        return decode_validation_list(path, path.read_bytes())
    except OSError as error:
        raise UserError(
            f"{path}: the list of validation images cannot be read ({os_reason(error)})."
        ) from None


def decode_validation_list(origin: Path, content: bytes) -> ValidationList:
    """Return the list in a file's content. Raises UserError if it is not text."""
    text = content.decode("utf-8-sig", "replace")
    if "\0" in text:
        raise UserError(f"{origin}: not a list of validation images; expected one name per line.")
    return ValidationList(origin, text)


@dataclass(frozen=True)
class ValidationNames:
    """A validation list, matched with images.

    chosen: paths of the images it names.
    missing: lines that name no image, in order.
    """

    chosen: frozenset[str]
    missing: tuple[str, ...]


def match_validation_list(listed: ValidationList, relatives: Iterable[str]) -> ValidationNames:
    """Match a list with the paths of images.

    A line is a file name or the end of a path, with either kind of slash; case and empty lines are
    ignored. A file name that occurs in several folders selects all of them.
    """
    by_name: dict[str, list[str]] = {}
    for relative in relatives:
        by_name.setdefault(PurePosixPath(relative).name.casefold(), []).append(relative)
    chosen: set[str] = set()
    missing = []
    for line in filter(None, map(str.strip, listed.text.splitlines())):
        components = [name for name in re.split(r"[\\/]", line.casefold()) if name not in ("", ".")]
        matches = [
            relative
            for relative in by_name.get(components[-1] if components else "", [])
            if _same_ending(relative.casefold().split("/"), components)
        ]
        chosen.update(matches)
        if not matches:
            missing.append(line)
    return ValidationNames(frozenset(chosen), tuple(missing))


def _same_ending(path: list[str], components: list[str]) -> bool:
    length = min(len(path), len(components))
    return path[-length:] == components[-length:]
