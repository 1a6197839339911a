"""Fashion-MNIST as RGB images of 32x32, for networks with three channels."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.fashion import PACKAGE, check_fashion
from gantrain.common.locks import file_lock
from gantrain.data.importing.idx import read_idx
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards

SIZE = 32
_FILES = {"train": "train", "validation": "t10k"}


def fashion_shards(folder: Path, source: Path = PACKAGE) -> Path:
    """Return `folder` with the 60,000 images to train on and 10,000 held out; write it if missing.

    source: folder with the four IDX files.

    Raises UserError if they are missing or unreadable.
    """
    check_fashion(source)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(folder.parent / f"{folder.name}.lock", wait=True):
        if not (folder / "manifest.json").exists():
            write_shards(
                folder,
                _samples(source),
                size=SIZE,
                channels=3,
                source="Fashion-MNIST, grey as RGB, with a margin of two black pixels",
                images_per_shard=10_000,
            )
    return folder


def _samples(source: Path) -> Iterator[Sample]:
    for split, prefix in _FILES.items():
        labels = read_idx(source / f"{prefix}-labels-idx1-ubyte.gz")
        pixels = read_idx(source / f"{prefix}-images-idx3-ubyte.gz")
        images = np.pad(pixels, ((0, 0), (2, 2), (2, 2)))
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            file = io.BytesIO()
            Image.fromarray(image).convert("RGB").save(file, "PNG", compress_level=1)
            yield Sample(f"{prefix}-{i:05d}", file.getvalue(), {"part": str(label), "split": split})
