"""The image files in a folder and its subfolders."""

import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from gantrain.common.errors import os_reason
from gantrain.data.images.convert import SUFFIXES
from gantrain.data.importing.filenames import display_path, natural_order

# Folders that systems and archivers add, with copies or thumbnails of the images.
_SYSTEM_FOLDERS = ("__macosx", "@eadir", "$recycle.bin", "lost+found")


@dataclass
class Listing:
    """The files of a folder.

    images: paths of the images by their path relative to the folder, in natural order.
    others: paths of the other files, in natural order.
    unreadable: reasons why images, or folders (with a final "/"), cannot be read.
    """

    images: dict[str, Path] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)

    def ignored(self) -> Counter[str]:
        """Return the number of other files, by suffix."""
        return count_suffixes(self.others)


def count_suffixes(paths: Iterable[PurePath]) -> Counter[str]:
    """Return the number of paths by suffix, in lower case; "" for none."""
    return Counter(path.suffix.lower() for path in paths)


def list_folder(source: Path) -> Listing:
    """List a folder's images and its other files; follow links.

    Hidden folders, and those that systems add, are passed over.

    Errors of listing the folder itself propagate as OSError.
    """
    listing = Listing()
    seen = {_identity(source)}
    images: dict[str, Path] = {}

    def record_error(error: OSError) -> None:
        relative = display_path(Path(error.filename).relative_to(source))
        listing.unreadable[f"{relative}/"] = f"folder: {os_reason(error)}"

    for folder, subfolders, files in os.walk(source, onerror=record_error, followlinks=True):
        subfolders[:] = _new_folders(Path(folder), subfolders, seen)
        for name in files:
            path = Path(folder, name)
            if _is_image(path):
                relative = display_path(path.relative_to(source))
                while relative in images:  # a name with an escaped byte may be that of another file
                    relative += "_"
                images[relative] = path
            else:
                listing.others.append(path)
    listing.images = {name: images[name] for name in sorted(images, key=natural_order)}
    listing.others.sort(key=lambda path: natural_order(display_path(path)))
    return listing


def is_passed_over(folder: str) -> bool:
    """Return whether a folder is hidden, or one that systems add.

    Hidden folders contain caches, version control and incomplete sets.
    """
    return folder.startswith(".") or folder.casefold() in _SYSTEM_FOLDERS


def _new_folders(folder: Path, names: list[str], seen: set[tuple[int, int]]) -> list[str]:
    new = []
    for name in sorted(names):
        if is_passed_over(name):
            continue
        try:
            identity = _identity(folder / name)
        except OSError:  # os.walk reports it
            new.append(name)
            continue
        if identity not in seen:  # otherwise a link leads back to a visited folder
            seen.add(identity)
            new.append(name)
    return new


def _identity(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_dev, state.st_ino


def _is_image(path: Path) -> bool:
    if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
        return False
    try:
        return stat.S_ISREG(path.stat().st_mode)  # reading a pipe would block
    except OSError:
        return True  # a broken link is reported as unreadable
