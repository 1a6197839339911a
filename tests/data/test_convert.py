"""Conversion of image files to square PNGs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantrain.data.images.convert import Conversion, Fit, convert_image
from gantrain.data.shards.samples import decode_image
from tests.shard_sets import save_image

BLACK = (0, 0, 0)


def converted(path: Path, *, channels: int = 1, fit: Fit = "crop", size: int = 8) -> np.ndarray:
    image = convert_image(path, Conversion(size, channels, BLACK, fit))
    pixels = decode_image(image, size, channels, where="x")
    return pixels[0] if channels == 1 else pixels.transpose(1, 2, 0)


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("L", 77, ".png", (77, 77, 77)),
        ("1", 1, ".png", (255, 255, 255)),
        ("RGB", (200, 100, 50), ".bmp", (200, 100, 50)),
        ("P", 3, ".gif", (10, 200, 30)),
        ("CMYK", (0, 255, 255, 0), ".tif", (255, 0, 0)),
        ("I;16", 0x8080, ".png", (128, 128, 128)),
        ("I;16", 0x00FF, ".tif", (1, 1, 1)),
    ],
)
def test_every_mode_keeps_its_colour(
    tmp_path: Path, mode: str, colour: Any, suffix: str, expected: tuple[int, int, int]
) -> None:
    image = Image.new(mode, (8, 8), colour)
    if mode == "P":
        image.putpalette([0, 0, 0] * 3 + [10, 200, 30])
    path = save_image(tmp_path / f"a{suffix}", image)
    assert converted(path, channels=3)[4, 4].tolist() == list(expected)
    red, green, blue = expected
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert abs(int(converted(path)[4, 4]) - luma) <= 1


def test_the_first_frame_of_an_animation_is_used(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    path = save_image(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert converted(path).mean() == 10


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("L", (16, 16), 0)
    image.paste(255, (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise: the top becomes the right
    turned = converted(save_image(tmp_path / "a.jpg", image, exif=exif, quality=95))
    assert turned[:, 7].min() > 200
    assert turned[:, 0].max() < 50


def test_crop_pad_and_stretch(tmp_path: Path) -> None:
    image = Image.new("L", (32, 16), 100)
    image.paste(250, (0, 0, 8, 16))  # the left quarter, which a crop cuts off
    path = save_image(tmp_path / "wide.png", image)
    assert np.ptp(converted(path, fit="crop")) == 0
    padded = converted(path, fit="pad")
    assert padded[:2].max() == padded[6:].max() == 0
    assert padded[3, 0] > 200
    stretched = converted(path, fit="stretch")
    assert stretched[:, 0].min() > 200
    assert stretched[:, 7].max() == 100
    assert (
        converted(save_image(tmp_path / "line.png", Image.new("L", (900, 1), 9)), fit="pad").max()
        == 9
    )


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_downscaling_averages_pixels(tmp_path: Path, suffix: str) -> None:
    board = np.indices((256, 256)).sum(axis=0) % 2 * 255
    path = save_image(tmp_path / f"board{suffix}", Image.fromarray(board.astype(np.uint8)))
    assert abs(converted(path).astype(int) - 127).max() <= 3
