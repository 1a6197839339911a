"""The image files in a folder and its subfolders."""

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from gantrain.common.errors import UserError, os_reason
from gantrain.data.importing.convert import SUFFIXES
from gantrain.data.importing.filenames import display_path, natural_order

# Folders that systems and archivers add, with copies or thumbnails of the images.
_SYSTEM_FOLDERS = ("__macosx", "@eadir", "$recycle.bin", "lost+found")


@dataclass
class Listing:
    """The files of a folder.

    images: paths of the images by their path relative to the folder, in natural order.
    ignored: number of other files, by suffix.
    unreadable: reasons why images, or folders (with a final "/"), cannot be read.
    """

    images: dict[str, Path] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)


def list_folder(source: Path) -> Listing:
    """List a folder's images and count its other files; follow links.

    Hidden folders, and those that systems add, are passed over.

    Raises UserError if the source is not a folder or contains no images.
    """
    if not source.is_dir():
        state = "not a folder" if source.exists() else "no such folder"
        raise UserError(f"{source}: {state}; expected a folder of images.")
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
                listing.ignored[path.suffix.lower()] += 1
    listing.images = {name: images[name] for name in sorted(images, key=natural_order)}
    if not listing.images:
        raise UserError(_no_images(source, listing))
    return listing


def _new_folders(folder: Path, names: list[str], seen: set[tuple[int, int]]) -> list[str]:
    new = []
    for name in sorted(names):
        # Hidden folders contain caches, version control and incomplete sets.
        if name.startswith(".") or name.casefold() in _SYSTEM_FOLDERS:
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


def _no_images(source: Path, listing: Listing) -> str:
    details = f"{listing.ignored.total()} other files"
    if listing.unreadable:
        folder, problem = next(iter(listing.unreadable.items()))
        details += f", and {folder} could not be listed ({problem})"
    return f"{source}: contains no images ({details}); expected {', '.join(sorted(SUFFIXES))}."
