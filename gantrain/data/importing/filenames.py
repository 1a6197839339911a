"""What the names of image files say: part, name, view, camera, split, and a key for the tar."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gantrain.common.errors import UserError
from gantrain.data.shards.samples import Label

# `3046 roof corner inside tile 2x2 045R.png`: part, name, view, camera
_BRICK = re.compile(r"(?P<part>\d\w*) (?P<name>\S.*) (?P<view>\d{3,6})(?P<camera>[LR])")
_UNFIT_FOR_KEYS = re.compile(r"[\s./\\]+")
_LONGEST_KEY = 200  # bytes, which leaves room for a number behind it
_LIST_NAME = "validation.txt"


def readable(path: str | os.PathLike[str]) -> str:
    """A path as text that UTF-8 can hold, with forward slashes; undecodable bytes become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace").replace(os.sep, "/")


def natural_order(text: str) -> list[tuple[int, int, str]]:
    """A key for `sorted` that puts `2.png` before `10.png`."""
    return [
        (0, int(run), "") if run.isdecimal() else (1, 0, run)
        for run in re.findall(r"[0-9]{1,18}|[^0-9]+", text)
    ]


def label_from_path(relative: str) -> Label:
    """What an image's path within its folder says about it.

    A name such as `3001 brick 2x4 000L.png` gives part, name, view (a whole number) and camera
    ("L" or "R"). For any other name the folder that holds the file is its part; images at the
    top have none. "file" is the path itself.
    """
    path = PurePosixPath(relative)
    brick = _BRICK.fullmatch(path.stem)
    if brick:
        return {
            "part": brick["part"],
            "name": brick["name"].strip(),
            "view": int(brick["view"]),
            "camera": brick["camera"],
            "file": relative,
        }
    if len(path.parts) > 1:
        return {"part": path.parent.name, "name": path.parent.name, "file": relative}
    return {"file": relative}


def unique_keys(relatives: Iterable[str]) -> list[str]:
    """A key for each path, each different from all others, also where case does not count.

    The key of a brick is its file's name; other keys hold the folders too. Where two would be
    equal, the later ones get a number.
    """
    taken: set[str] = set()
    keys = []
    for relative in relatives:
        path = PurePosixPath(relative)
        stem = path.stem if _BRICK.fullmatch(path.stem) else str(path.with_suffix(""))
        stem = _UNFIT_FOR_KEYS.sub("_", stem)
        stem = "".join(sign if sign.isprintable() else "_" for sign in stem)
        stem = stem.encode()[:_LONGEST_KEY].decode(errors="ignore")
        key, number = stem, 1
        while key.casefold() in taken:
            number += 1
            key = f"{stem}-{number}"
        taken.add(key.casefold())
        keys.append(key)
    return keys


def find_validation_list(source: Path) -> Path | None:
    """The `validation.txt` in a folder or beside it, in whatever case; None if there is none."""
    for folder in (source, source.absolute().parent):
        try:
            names = sorted(path.name for path in folder.iterdir())
        except OSError:  # the folder beside need not be ours to list
            continue
        for name in names:
            if name.casefold() == _LIST_NAME and (folder / name).is_file():
                return folder / name
    return None


@dataclass(frozen=True)
class ValidationNames:
    """A list's names, sorted out: which images they are, and which of them are none.

    chosen: paths of images, out of those that were asked about.
    missing: lines of the list that name no image, in its order.
    """

    chosen: frozenset[str]
    missing: tuple[str, ...]


def read_validation_list(path: Path, relatives: Iterable[str]) -> ValidationNames:
    """Match a list of file names, one a line, with images' paths.

    A line is a bare file name or ends a path, with either kind of slash; case does not count.
    Empty lines do not count either. A bare name that several folders hold means all of them.

    Raises UserError if the list cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise UserError(
            f"{path}: the list of validation images cannot be read ({error.strerror or error})."
        ) from None
    of_name: dict[str, list[str]] = {}
    for relative in relatives:
        of_name.setdefault(PurePosixPath(relative).name.casefold(), []).append(relative)
    chosen: set[str] = set()
    missing = []
    for line in filter(None, map(str.strip, text.splitlines())):
        wanted = [part for part in re.split(r"[\\/]", line.casefold()) if part not in ("", ".")]
        found = [
            relative
            for relative in of_name.get(wanted[-1] if wanted else "", [])
            if _ends_alike(relative.casefold().split("/"), wanted)
        ]
        chosen.update(found)
        if not found:
            missing.append(line)
    return ValidationNames(frozenset(chosen), tuple(missing))


def _ends_alike(path: list[str], wanted: list[str]) -> bool:
    length = min(len(path), len(wanted))
    return path[-length:] == wanted[-length:]
