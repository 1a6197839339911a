"""Keys and labels of images from their file names, and lists of validation images."""

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gantrain.common.errors import UserError, os_reason
from gantrain.data.shards.samples import Label

# `3046 roof corner inside tile 2x2 045R.png`: part, name, view, camera
_BRICK = re.compile(r"(?P<part>\d\w*) (?P<name>\S.*) (?P<view>\d{3,6})(?P<camera>[LR])")
_INVALID_IN_KEYS = re.compile(r"[\s./\\]+")
_MAX_KEY_BYTES = 200  # leaves room for a numeric suffix
_LIST_NAME = "validation.txt"


def display_path(path: str | os.PathLike[str]) -> str:
    """Return a path as valid UTF-8 text with forward slashes; escape bytes that are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace(os.sep, "/")


def natural_order(text: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts `2.png` before `10.png`."""
    return [
        (0, int(run), "") if run.isdecimal() else (1, 0, run)
        for run in re.findall(r"[0-9]{1,18}|[^0-9]+", text)
    ]


def label_from_name(relative: str) -> Label | None:
    """Return the label that an image's file name states, or None if it states none.

    A name such as `3001 brick 2x4 000L.png` gives part, name, view (an integer) and camera ("L" or
    "R"); "file" is the path itself.
    """
    brick = _BRICK.fullmatch(PurePosixPath(relative).stem)
    if brick is None:
        return None
    return {
        "part": brick["part"],
        "name": brick["name"].strip(),
        "view": int(brick["view"]),
        "camera": brick["camera"],
        "file": relative,
    }


def unique_keys(relatives: Iterable[str], *, names_tell: bool = False) -> list[str]:
    """Return a key for each path, unique even if case is ignored.

    names_tell: whether a name such as `3001 brick 2x4 000L.png` is a key by itself; other keys
        include the folders.

    Duplicates get a numeric suffix.
    """
    taken: set[str] = set()
    keys = []
    for relative in relatives:
        path = PurePosixPath(relative)
        alone = names_tell and _BRICK.fullmatch(path.stem)
        stem = path.stem if alone else str(path.with_suffix(""))
        stem = _INVALID_IN_KEYS.sub("_", unicodedata.normalize("NFC", stem))
        stem = "".join(character if character.isprintable() else "_" for character in stem)
        stem = stem.encode()[:_MAX_KEY_BYTES].decode(errors="ignore")
        key, number = stem, 1
        while key.casefold() in taken:
            number += 1
            key = f"{stem}-{number}"
        taken.add(key.casefold())
        keys.append(key)
    return keys


def find_validation_list(source: Path) -> Path | None:
    """Return the `validation.txt` in a folder or in its parent, in any case, or None."""
    for folder in (source, source.absolute().parent):
        try:
            names = sorted(path.name for path in folder.iterdir())
        except OSError:  # the parent may not be readable
            continue
        for name in names:
            if name.casefold() == _LIST_NAME and (folder / name).is_file():
                return folder / name
    return None


def parse_class_names(text: str) -> list[str]:
    """Return names separated by commas, or those in the file of this name, one per line.

    Raises UserError if the file cannot be read, or a name is missing or occurs twice.
    """
    names = [name.strip() for name in text.split(",")]
    if len(names) == 1:
        try:
            content = Path(text).read_bytes().decode("utf-8-sig")
        except OSError as error:
            raise UserError(
                f"--class-names: {text}: {os_reason(error)}; expected names separated by commas, "
                "or a file with one name per line."
            ) from None
        except UnicodeDecodeError:
            raise UserError(f"--class-names: {text}: not a text file in UTF-8.") from None
        names = [line.strip() for line in content.rstrip().split("\n")]
    for number, name in enumerate(names):
        if not name:
            raise UserError(f"--class-names: class {number} has no name in {text!r}.")
        if names.index(name) < number:
            raise UserError(f"--class-names: {name!r} is the name of two classes.")
    return names


@dataclass(frozen=True)
class ValidationNames:
    """A validation list, matched with images.

    chosen: paths of the images it names.
    missing: lines that name no image, in order.
    """

    chosen: frozenset[str]
    missing: tuple[str, ...]


def read_validation_list(path: Path, relatives: Iterable[str]) -> ValidationNames:
    """Match a list of file names, one per line, with the paths of images.

    A line is a file name or the end of a path, with either kind of slash; case and empty lines are
    ignored. A file name that occurs in several folders selects all of them.

    Raises UserError if the list cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise UserError(
            f"{path}: the list of validation images cannot be read ({os_reason(error)})."
        ) from None
    if "\0" in text:
        raise UserError(f"{path}: not a list of validation images; expected one name per line.")
    by_name: dict[str, list[str]] = {}
    for relative in relatives:
        by_name.setdefault(PurePosixPath(relative).name.casefold(), []).append(relative)
    chosen: set[str] = set()
    missing = []
    for line in filter(None, map(str.strip, text.splitlines())):
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
