"""One image of many: what a set of shards looks like."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from gantrain.common.errors import UserError
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.members import Sample, decode_image
from gantrain.data.shards.writing import iterate_shard


def save_contact_sheet(folder: Path, manifest: Manifest, path: Path, *, count: int = 100) -> int:
    """Tile about `count` images of a set into one file, as many of each class as of any other.

    path: its suffix names the format. Rows run through the classes in their order.

    Returns how many images are on it. Raises UserError if a shard is broken or the file cannot
    be written.
    """
    samples = _choose(folder, manifest, count)
    columns = math.ceil(math.sqrt(len(samples)))
    rows = math.ceil(len(samples) / columns)
    size, channels = manifest.size, manifest.channels
    sheet = np.zeros((rows * size, columns * size, channels), np.uint8)
    for place, sample in enumerate(samples):
        pixels = decode_image(sample.image, size, channels, where=f"{folder}: {sample.key}.png")
        top, left = place // columns * size, place % columns * size
        sheet[top : top + size, left : left + size] = pixels.transpose(1, 2, 0)
    try:
        Image.fromarray(sheet.squeeze(-1) if channels == 1 else sheet).save(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be written ({error}); expected a name such as grid.png."
        ) from None
    return len(samples)


def _choose(folder: Path, manifest: Manifest, count: int) -> list[Sample]:
    shares = max(1, len(manifest.classes) + (_classless(manifest) > 0))
    share = max(1, count // shares)
    wanted = {part: min(share, entry.count) for part, entry in manifest.classes.items()}
    wanted[""] = min(share, _classless(manifest))
    chosen: list[tuple[str, Sample]] = []
    taken: Counter[str] = Counter()
    for entry in manifest.shards:
        for sample in iterate_shard(folder, manifest, entry):
            part = str(sample.label.get("part", ""))
            if taken[part] < wanted.get(part, 0):
                taken[part] += 1
                chosen.append((part, sample))
        if len(chosen) >= sum(wanted.values()):
            break
    if not chosen:
        raise UserError(f"{folder}: the shards hold none of the classes that the manifest lists.")
    return [sample for _, sample in sorted(chosen, key=lambda pair: pair[0])]


def _classless(manifest: Manifest) -> int:
    return manifest.count - sum(entry.count for entry in manifest.classes.values())
