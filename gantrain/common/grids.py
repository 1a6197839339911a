"""Tiles images into one and saves it."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.files import replacing

_GAP = 2  # pixels between the tiles
_BACKGROUND = 255


def tile(images: Tensor, rows: int, columns: int) -> Image.Image:
    """Return images (N, C, S, S) in [-1, 1] as one 8-bit image, row by row, with white gaps.

    Images beyond rows x columns are left out; tiles without an image stay white.
    """
    _, channels, size, _ = images.shape
    step = size + _GAP
    canvas = np.full((rows * step - _GAP, columns * step - _GAP, channels), _BACKGROUND, np.uint8)
    for i, pixels in enumerate(to_uint8(images[: rows * columns])):
        top, left = i // columns * step, i % columns * step
        canvas[top : top + size, left : left + size] = pixels
    return Image.fromarray(canvas.squeeze(2) if channels == 1 else canvas)


def tile_square(images: Tensor) -> Image.Image:
    """Tile images (N, C, S, S) in [-1, 1] with ceil(sqrt(N)) columns and no empty rows."""
    columns = math.isqrt(len(images) - 1) + 1
    return tile(images, -(-len(images) // columns), columns)


def untile(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], size: int) -> Tensor:
    """Return the images of an 8-bit grid as `tile` makes it, uint8 (N, C, S, S).

    pixels: (H, W) or (H, W, C). size: S. Empty tiles are white images.
    """
    step = size + _GAP
    stacked = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1).copy()).permute(2, 0, 1)
    rows = stacked.unfold(1, size, step).unfold(2, size, step)  # (C, rows, columns, S, S)
    return rows.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()


def quantize(images: Tensor) -> Tensor:
    """Convert images of any shape in [-1, 1] to uint8, on their device."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def require_finite(images: Tensor) -> None:
    """Raise UserError if any of the images (N, C, S, S) of a generator has NaN or infinite pixels.

    `quantize` would make these black, as it may in the grids of a training that diverges.
    """
    if not images.isfinite().all():
        raise UserError(
            "the generator is broken: it makes images with pixels that are NaN or infinite."
        )


def to_uint8(images: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return images (N, C, S, S) in [-1, 1] as uint8 (N, S, S, C); values outside are clipped."""
    scaled = quantize(images)
    array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = (
        scaled.permute(0, 2, 3, 1).cpu().numpy()
    )
    return array


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG atomically."""
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")
