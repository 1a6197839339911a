"""Reduces sample grids to fit into a page."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from PIL import Image

Item = TypeVar("Item")


def pick_evenly(items: Sequence[Item], count: int) -> list[Item]:
    """Return at most `count` evenly spaced items, including the first and the last."""
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[-1]]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def as_data_url(path: Path, *, side: int, crop: int | None = None, quality: int = 80) -> str | None:
    """Return an image file as WebP in a data URL; None if it is unreadable.

    side: largest width and height, to which the image is reduced.
    crop: keep only the top left square of this side, in pixels of the file.
    quality: of the WebP compression, from 0 to 100.
    """
    try:
        with Image.open(path) as file:
            image = file.convert("L" if file.mode == "L" else "RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    if crop is not None:
        crop = min(crop, *image.size)
        image = image.crop((0, 0, crop, crop))
    return encode(image, side=side, quality=quality)


def encode(image: Image.Image, *, side: int, quality: int = 80) -> str:
    """Return an image as WebP in a data URL; side and quality as for `as_data_url`."""
    image.thumbnail((side, side), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
