"""Folders of image files."""

from pathlib import Path

from gantrain.data.importing.listing import Listing
from gantrain.data.importing.sources import Source


def open_folder(path: Path, listing: Listing) -> Source:
    """Return a listed folder as a source of its image files."""
    files = list(listing.images.values())
    return Source(
        path,
        "folder of image files",
        list(listing.images),
        content=lambda index: files[index],
        has_files=True,
        ignored=listing.ignored(),
        unreadable=dict(listing.unreadable),
    )
