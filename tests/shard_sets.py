"""Small sets of shards and image files for the tests."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gantrain.data.shards.manifest import Manifest, read_manifest
from gantrain.data.shards.reader import iterate_shard
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards


def png(value: int, *, size: int = 4, channels: int = 1) -> bytes:
    pixels = np.full((size, size, channels), value % 256, np.uint8)
    pixels[0, 0] = 255 - value % 256
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def make_samples(count: int, *, channels: int = 1) -> list[Sample]:
    return [
        Sample(
            f"view {i:03d}",
            png(i, channels=channels),
            {
                "part": str(3001 + i % 2),
                "name": f"brick {i % 2}",
                "view": i,
                "split": "validation" if i % 5 == 0 else "train",
            },
        )
        for i in range(count)
    ]


def write(folder: Path, samples: list[Sample], **options: Any) -> Manifest:
    return write_shards(
        folder, samples, **{"size": 4, "channels": 1, "source": "a test", **options}
    )


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_all(folder: Path) -> list[Sample]:
    manifest = read_manifest(folder)
    return [
        sample for entry in manifest.shards for sample in iterate_shard(folder, manifest, entry)
    ]


def save_image(path: Path, image: Image.Image | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.new("RGB", (8, 8), (200, 100, 50))).save(path, **options)
    return path
