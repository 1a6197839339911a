"""Images tiled into one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gantrain.common.grids import save_png, tile, tile_square, to_bytes


def test_every_image_is_in_its_place_and_gaps_and_free_places_are_white() -> None:
    images = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 1, 4, 4)
    sheet = np.asarray(tile(images, 2, 3))
    assert sheet.shape == (2 * 6 - 2, 3 * 6 - 2)
    shades = [0, 64, 128, 191, 255]
    for i, shade in enumerate(shades):
        top, left = i // 3 * 6, i % 3 * 6
        assert (sheet[top : top + 4, left : left + 4] == shade).all()
    assert (sheet[4:6] == 255).all()
    assert (sheet[6:, 12:] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_scaling_to_bytes_is_the_inverse_of_scaling_to_minus_one_and_one(channels: int) -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(channels, 1)
    images = torch.from_numpy(every).float() / 127.5 - 1
    assert (to_bytes(images) == every.transpose(0, 2, 3, 1)).all()
    assert to_bytes(torch.full((1, channels, 2, 2), 7.0)).max() == 255


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (6, 2, 3), (10, 3, 4)])
def test_a_square_sheet_holds_them_all(count: int, rows: int, columns: int) -> None:
    assert tile_square(torch.zeros(count, 1, 4, 4)).size == (columns * 6 - 2, rows * 6 - 2)


def test_a_image_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "grid.png"
    save_png(Image.new("L", (3, 3)), path)
    before = path.read_bytes()
    with pytest.raises(OSError, match="cannot write mode"):
        save_png(Image.new("CMYK", (3, 3)), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["grid.png"]
