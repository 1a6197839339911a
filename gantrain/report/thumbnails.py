"""Sample grids made small enough to lie inside a page."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from PIL import Image

Item = TypeVar("Item")


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` items, evenly over all of them, the first and the last included."""
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[-1]]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def as_data_url(path: Path, *, side: int, quality: int = 80) -> str | None:
    """The image as a WebP in a data URL, its sides at most `side` pixels; None if unreadable."""
    try:
        with Image.open(path) as opened:
            image = opened.convert("L" if opened.mode == "L" else "RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    image.thumbnail((side, side), Image.Resampling.BOX)
    return encode(image, quality)


def encode(image: Image.Image, quality: int) -> str:
    """An image as a WebP in a data URL."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
