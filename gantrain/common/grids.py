"""Many images tiled into one."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gantrain.common.files import replacing

_GAP = 2  # pixels between the tiles
_PAPER = 255


def tile(images: Tensor, rows: int, columns: int) -> Image.Image:
    """Images (N, C, S, S) in [-1, 1] as one 8-bit image, row by row, with white gaps.

    N may be less than rows x columns: the places left over stay white.
    """
    _, channels, size, _ = images.shape
    step = size + _GAP
    sheet = np.full((rows * step - _GAP, columns * step - _GAP, channels), _PAPER, np.uint8)
    for i, tile_ in enumerate(to_bytes(images[: rows * columns])):
        top, left = i // columns * step, i % columns * step
        sheet[top : top + size, left : left + size] = tile_
    return Image.fromarray(sheet.squeeze(2) if channels == 1 else sheet)


def tile_square(images: Tensor) -> Image.Image:
    """`tile` with as many columns as rows, or one more."""
    columns = math.isqrt(len(images) - 1) + 1
    return tile(images, -(-len(images) // columns), columns)


def to_bytes(images: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Images (N, C, S, S) in [-1, 1] as uint8 of shape (N, S, S, C)."""
    scaled = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = (
        scaled.permute(0, 2, 3, 1).cpu().numpy()
    )
    return array


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG at `path`, whole or not at all."""
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")
