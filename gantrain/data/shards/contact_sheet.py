"""A contact sheet: images of a set of shards, tiled into one."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from gantrain.common.errors import UserError
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.reader import iterate_shard
from gantrain.data.shards.samples import Sample, decode_image


def save_contact_sheet(folder: Path, manifest: Manifest, path: Path, *, count: int = 100) -> int:
    """Tile about `count` images of a set into one file, the same number of each class.

    path: its suffix selects the format. Images are sorted by class, row by row.

    Returns the number of images on the sheet. Raises UserError if a shard is damaged or the file
    cannot be written.
    """
    samples = _select(folder, manifest, count)
    columns = math.ceil(math.sqrt(len(samples)))
    rows = math.ceil(len(samples) / columns)
    size, channels = manifest.size, manifest.channels
    sheet = np.zeros((rows * size, columns * size, channels), np.uint8)
    for cell, sample in enumerate(samples):
        pixels = decode_image(sample.image, size, channels, where=f"{folder}: {sample.key}.png")
        top, left = cell // columns * size, cell % columns * size
        sheet[top : top + size, left : left + size] = pixels.transpose(1, 2, 0)
    try:
        Image.fromarray(sheet.squeeze(-1) if channels == 1 else sheet).save(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be written ({error}); expected a name such as grid.png."
        ) from None
    return len(samples)


def _select(folder: Path, manifest: Manifest, count: int) -> list[Sample]:
    unlabelled = manifest.count - sum(entry.count for entry in manifest.classes.values())
    per_class = max(1, count // max(1, len(manifest.classes) + (unlabelled > 0)))
    quota = {key: min(per_class, entry.count) for key, entry in manifest.classes.items()}
    quota[""] = min(per_class, unlabelled)
    selected: list[tuple[str, Sample]] = []
    counts: Counter[str] = Counter()
    for entry in manifest.shards:
        for sample in iterate_shard(folder, manifest, entry):
            key = str(sample.label.get("part", ""))
            if counts[key] < quota.get(key, 0):
                counts[key] += 1
                selected.append((key, sample))
        if len(selected) >= sum(quota.values()):
            break
    if not selected:
        raise UserError(f"{folder}: no image has any of the classes in the manifest.")
    return [sample for _, sample in sorted(selected, key=lambda pair: pair[0])]
