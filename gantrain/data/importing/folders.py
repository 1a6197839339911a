"""Folders of image files."""

from pathlib import Path

from gantrain.common.errors import UserError, os_reason
from gantrain.data.importing.dataset_json import MAX_BYTES, NAME, read_dataset_labels
from gantrain.data.importing.listing import Listing
from gantrain.data.importing.sources import Source, SourceOptions
from gantrain.data.importing.validation_lists import (
    ValidationList,
    find_validation_list,
    load_validation_list,
)


def open_folder(path: Path, listing: Listing, options: SourceOptions) -> Source:
    """Return a listed folder as a source of its image files.

    Labels are those of StyleGAN's `dataset.json`, if there is one in the folder.

    Raises UserError if that file is not in StyleGAN's format or cannot be read.
    """
    files = list(listing.images.values())

    def validation_list() -> ValidationList | None:
        found = find_validation_list(path)
        return None if found is None else load_validation_list(found)

    source = Source(
        path,
        "folder of image files",
        list(listing.images),
        content=lambda index: files[index],
        ignored=listing.ignored(),
        unreadable=dict(listing.unreadable),
        validation_list=validation_list,
    )
    labels = path / NAME
    if options.read_labels and labels in listing.others:
        read_dataset_labels(source, _read(labels), NAME)
    return source


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({os_reason(error)}).") from None
