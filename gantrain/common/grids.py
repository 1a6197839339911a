"""Many pictures tiled into one."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gantrain.common.files import replacing

_GAP = 2  # pixels between the tiles
_PAPER = 255


def tile(pictures: Tensor, rows: int, columns: int) -> Image.Image:
    """Pictures (N, C, S, S) in [-1, 1] as one 8-bit image, row by row, with white gaps.

    N may be less than rows x columns: the places left over stay white.
    """
    _, channels, size, _ = pictures.shape
    step = size + _GAP
    sheet = np.full((rows * step - _GAP, columns * step - _GAP, channels), _PAPER, np.uint8)
    for i, tile_ in enumerate(to_bytes(pictures[: rows * columns])):
        top, left = i // columns * step, i % columns * step
        sheet[top : top + size, left : left + size] = tile_
    return Image.fromarray(sheet.squeeze(2) if channels == 1 else sheet)


def tile_square(pictures: Tensor) -> Image.Image:
    """`tile` with as many columns as rows, or one more."""
    columns = math.isqrt(len(pictures) - 1) + 1
    return tile(pictures, -(-len(pictures) // columns), columns)


def to_bytes(pictures: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Pictures (N, C, S, S) in [-1, 1] as uint8 of shape (N, S, S, C)."""
    scaled = ((pictures.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = (
        scaled.permute(0, 2, 3, 1).cpu().numpy()
    )
    return array


def save_picture(image: Image.Image, path: Path) -> None:
    """Write a PNG at `path`, whole or not at all."""
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")
