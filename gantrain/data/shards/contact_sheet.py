"""A contact sheet: images of a set of shards, tiled into one."""

import math
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gantrain.common.errors import UserError
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.store import open_in_folder


def save_contact_sheet(folder: Path, manifest: Manifest, path: Path, *, count: int = 100) -> int:
    """Tile about `count` images of a set into one file, the same number of each class.

    path: its suffix selects the format. Images are sorted by class, row by row.

    Returns the number of images on the sheet. Raises UserError if a shard is damaged or the file
    cannot be written.
    """
    images = _select(folder, manifest, count)
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    size, channels = manifest.size, manifest.channels
    sheet = np.zeros((rows * size, columns * size, channels), np.uint8)
    for cell, pixels in enumerate(images):
        top, left = cell // columns * size, cell % columns * size
        sheet[top : top + size, left : left + size] = pixels.transpose(1, 2, 0)
    try:
        Image.fromarray(sheet.squeeze(-1) if channels == 1 else sheet).save(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be written ({error}); expected a name such as grid.png."
        ) from None
    return len(images)


def _select(folder: Path, manifest: Manifest, count: int) -> list[NDArray[np.uint8]]:
    """Return images, each uint8 (C, S, S), sorted by class."""
    unlabelled = manifest.count - sum(entry.count for entry in manifest.classes.values())
    per_class = max(1, count // max(1, len(manifest.classes) + (unlabelled > 0)))
    quota = {key: min(per_class, entry.count) for key, entry in manifest.classes.items()}
    quota[""] = min(per_class, unlabelled)
    selected: list[tuple[str, NDArray[np.uint8]]] = []
    counts: Counter[str] = Counter()
    for entry in manifest.shards:
        with closing(open_in_folder(folder, entry)) as reader:
            if reader.faults:
                raise UserError(f"{reader.faults[0]}. {manifest.repair}.")
            for row in range(entry.count):
                key = str(reader.label(row).get("part", ""))
                if counts[key] < quota.get(key, 0):
                    counts[key] += 1
                    selected.append((key, reader.read_image(row, manifest.target)))
        if len(selected) >= sum(quota.values()):
            break
    if not selected:
        raise UserError(f"{folder}: no image has any of the classes in the manifest.")
    return [pixels for _, pixels in sorted(selected, key=lambda pair: pair[0])]
