"""Keys and labels of images from their file names, and names of classes."""

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from gantrain.common.errors import UserError, os_reason
from gantrain.data.shards.samples import Label

# `3046 roof corner inside tile 2x2 045R.png`: part, name, view, camera
_BRICK = re.compile(r"(?P<part>\d\w*) (?P<name>\S.*) (?P<view>\d{3,6})(?P<camera>[LR])")
_INVALID_IN_KEYS = re.compile(r"[\s./\\]+")
_MAX_KEY_BYTES = 200  # leaves room for a numeric suffix


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
