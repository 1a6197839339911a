"""Zip archives of image files, which are read in memory and never extracted."""

import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from gantrain.common.errors import UserError
from gantrain.data.images.convert import SUFFIXES
from gantrain.data.importing import dataset_json
from gantrain.data.importing.archives import MAGIC, open_zip, read_entry
from gantrain.data.importing.filenames import natural_order
from gantrain.data.importing.listing import count_suffixes, is_passed_over
from gantrain.data.importing.sources import Source, SourceOptions
from gantrain.data.importing.validation_lists import (
    ValidationList,
    decode_validation_list,
    is_list_name,
)

MAX_ENTRY = 512 << 20  # bytes: more than 100 megapixels of uncompressed RGB
_MAX_LIST = 64 << 20


def has_name(name: str) -> bool:
    """Return whether a file's name ends in `.zip`."""
    return name.lower().endswith(".zip")


def has_head(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is a zip archive."""
    return head.startswith(MAGIC)


def open_archive(path: Path, files: Sequence[Path], options: SourceOptions) -> Source:
    """Open a zip archive of image files in folders, under the rules of folders of images.

    Labels are those of StyleGAN's `dataset.json`, if there is one. Entries that are encrypted,
    damaged, whose path leaves the archive, or that expand to more than 512 MiB are unreadable.

    Raises UserError if there are several archives, if the archive is damaged or a zip bomb (see
    `open_zip`), or if it contains no image.
    """
    if len(files) > 1:
        raise UserError(
            f"{path}: contains {len(files)} zip archives, such as {files[0].name}; give one of "
            "them, or unpack them into one folder."
        )
    archive = open_zip(files[0])
    images: dict[str, zipfile.ZipInfo] = {}
    others: dict[str, zipfile.ZipInfo] = {}
    unreadable: dict[str, str] = {}
    for entry in archive.infolist():
        name = entry.filename.replace("\\", "/")
        parts = PurePosixPath(name).parts
        leaves = name.startswith("/") or ".." in parts or ":" in (parts or ("",))[0]
        if entry.is_dir() or not parts or (not leaves and any(map(is_passed_over, parts[:-1]))):
            continue
        if parts[-1].startswith(".") or PurePosixPath(name).suffix.lower() not in SUFFIXES:
            others[name] = entry
        elif leaves:
            unreadable[name] = "its path leaves the archive"
        else:
            while name in images:
                name += "_"
            images[name] = entry
    if not images:
        archive.close()
        raise UserError(_no_images(files[0], others, unreadable))
    names = sorted(images, key=natural_order)

    def validation_list() -> ValidationList | None:
        found = _shallowest([name for name in others if is_list_name(PurePosixPath(name).name)])
        if found is None:
            return None
        content = _read(archive, others[found], files[0], _MAX_LIST)
        return decode_validation_list(files[0] / found, content)

    source = Source(
        files[0],
        "zip archive of image files",
        names,
        content=lambda index: bytes(read_entry(archive, images[names[index]], MAX_ENTRY)),
        ignored=count_suffixes(map(PurePosixPath, others)),
        unreadable=unreadable,
        validation_list=validation_list,
    )
    source.resources.enter_context(archive)
    labels = _shallowest([n for n in others if PurePosixPath(n).name == dataset_json.NAME])
    if labels is not None and options.read_labels:
        content = _read(archive, others[labels], files[0], dataset_json.MAX_BYTES)
        dataset_json.read_dataset_labels(source, content, labels)
    return source


def _shallowest(names: Sequence[str]) -> str | None:
    """Return the name that is in the fewest folders, if that is at most one."""
    found = min(names, key=lambda name: (name.count("/"), name), default=None)
    return found if found is not None and found.count("/") < 2 else None


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, limit: int) -> bytes:
    try:
        return bytes(read_entry(archive, entry, limit))
    except UserError as error:
        raise UserError(f"{path}: {entry.filename}: {error}.") from None


def _no_images(path: Path, others: dict[str, zipfile.ZipInfo], unreadable: dict[str, str]) -> str:
    kinds = count_suffixes(map(PurePosixPath, others)).most_common(5)
    found = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in kinds)
    if unreadable:
        name, reason = next(iter(unreadable.items()))
        found = f"{found or 'no others'}; {len(unreadable)} unreadable, such as {name}: {reason}"
    return (
        f"{path}: contains no image files ({found or 'it is empty'}). Unpack archives in it, and "
        "data of other kinds, before the import."
    )
