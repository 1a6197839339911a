"""Tiling images into one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gantrain.common.grids import save_png, tile, tile_square, to_uint8


def test_tiles_are_in_row_order_and_gaps_and_unused_tiles_are_white() -> None:
    images = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 1, 4, 4)
    canvas = np.asarray(tile(images, 2, 3))
    assert canvas.shape == (2 * 6 - 2, 3 * 6 - 2)
    shades = [0, 64, 128, 191, 255]
    for i, shade in enumerate(shades):
        top, left = i // 3 * 6, i % 3 * 6
        assert (canvas[top : top + 4, left : left + 4] == shade).all()
    assert (canvas[4:6] == 255).all()
    assert (canvas[6:, 12:] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_to_uint8_inverts_scaling_to_minus_one_and_one(channels: int) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(channels, 1)
    images = torch.from_numpy(levels).float() / 127.5 - 1
    assert (to_uint8(images) == levels.transpose(0, 2, 3, 1)).all()
    assert to_uint8(torch.full((1, channels, 2, 2), 7.0)).max() == 255


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (6, 2, 3), (10, 3, 4)])
def test_a_square_has_room_for_all_tiles(count: int, rows: int, columns: int) -> None:
    assert tile_square(torch.zeros(count, 1, 4, 4)).size == (columns * 6 - 2, rows * 6 - 2)


def test_a_png_is_written_atomically(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "grid.png"
    save_png(Image.new("L", (3, 3)), path)
    before = path.read_bytes()
    with pytest.raises(OSError, match="cannot write mode"):
        save_png(Image.new("CMYK", (3, 3)), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["grid.png"]
