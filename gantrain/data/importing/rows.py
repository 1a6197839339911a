"""Sources whose images are the rows of arrays."""

from collections import Counter
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError
from gantrain.data.importing.sources import Source, StatedLabels


@dataclass(frozen=True)
class Rows:
    """An array of images.

    folder: in the names of the images, such as "train"; "" for none.
    images: uint8 (N, H, W) or (N, H, W, C); mapped or in memory.
    labels: one for each image, or None.
    """

    folder: str
    images: NDArray[np.uint8]
    labels: Sequence[str | None] | None = None


def open_rows(path: Path, kind: str, parts: Sequence[Rows], origin: str) -> Source:
    """Return arrays as one source; those with the same folder are numbered consecutively.

    origin: where the labels are stated, for display.
    """
    arrays = [part.images for part in parts]
    starts = np.cumsum([0, *map(len, arrays)])

    def content(index: int) -> NDArray[np.uint8]:
        which = int(np.searchsorted(starts, index, side="right")) - 1
        return np.array(arrays[which][index - starts[which]])

    sizes = {(array.shape[2], array.shape[1]) for array in arrays}
    classes = [label for part in parts for label in part.labels or [None] * len(part.images)]
    return Source(
        path,
        kind,
        numbered_names([(part.folder, len(part.images)) for part in parts]),
        content,
        size=sizes.pop() if len(sizes) == 1 else None,
        labels=StatedLabels(classes, origin)
        if any(label is not None for label in classes)
        else None,
    )


def numbered_names(counts: Sequence[tuple[str, int]]) -> list[str]:
    """Return `train/00`, `train/01`, … for numbers of images in folders, "" for no folder.

    Those of equal folders are numbered consecutively.
    """
    totals: Counter[str] = Counter()
    for folder, count in counts:
        totals[folder] += count
    used: Counter[str] = Counter()
    names = []
    for folder, count in counts:
        width = len(str(totals[folder] - 1))
        prefix = f"{folder}/" if folder else ""
        names += [f"{prefix}{n:0{width}d}" for n in range(used[folder], used[folder] + count)]
        used[folder] += count
    return names


def check_count(labels: Sized, count: int, labels_name: str, images_name: str) -> None:
    """Raise UserError unless there is one label for each image."""
    if len(labels) != count:
        raise UserError(
            f"{labels_name}: contains {len(labels)} labels, but {images_name} contains {count} "
            "images; expected one label for each image."
        )
