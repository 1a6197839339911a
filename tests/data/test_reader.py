"""The one reader of image files: what `project` sees is what `import` stores."""

import io
import itertools
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gantrain.common.errors import UserError
from gantrain.data.images.convert import Conversion, Fit, convert_image, read_image
from gantrain.data.importing.pipeline import import_images
from gantrain.data.shards.samples import decode_image
from gantrain.inference.projection import read_images
from tests.shard_sets import read_all, save_image

BLUE = (0, 0, 255)


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png_of(values: np.ndarray, depth: int, transparent: tuple[int, ...] = ()) -> bytes:
    """A PNG of integer values (H, W) or (H, W, 3), written by the specification."""
    height, width = values.shape[:2]
    bits = (values.reshape(height, -1)[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    rows = np.packbits(bits.reshape(height, -1).astype(bool), axis=1)
    colour = 2 if values.ndim == 3 else 0
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))]
    if transparent:
        chunks.append((b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)))
    chunks.append((b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in [*chunks, (b"IEND", b"")])


# Transparent colours


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("transparent", [0, 1])
def test_a_transparent_grey_level_is_background_at_any_depth(depth: int, transparent: int) -> None:
    values = np.arange(64).reshape(8, 8) * (257 if depth == 16 else 1) % 2**depth
    transparent *= 257 if depth == 16 else 1
    image = read_image(png_of(values, depth, (transparent,)), Conversion(8, 3, BLUE))
    expected = np.repeat(np.round(values * 255 / (2**depth - 1))[None], 3, 0)
    expected[:, values == transparent] = np.array(BLUE)[:, None]
    assert image.tolist() == expected.tolist()


def test_a_level_that_differs_in_its_low_byte_is_not_transparent() -> None:
    grey = np.array([[0x3300, 0x3301] * 2] * 4)
    image = read_image(png_of(grey, 16, (0x3300,)), Conversion(4, 3, BLUE))
    assert image[:, 0].T.tolist() == [list(BLUE), [51] * 3] * 2
    colour = np.array([[(0x3300, 0x1234, 0xFFFF), (0x3301, 0x1234, 0xFFFF)] * 2] * 4)
    image = read_image(png_of(colour, 16, (0x3300, 0x1234, 0xFFFF)), Conversion(4, 3, BLUE))
    assert image[:, 0].T.tolist() == [list(BLUE), [0x33, 0x12, 0xFF]] * 2
    image = read_image(png_of(colour, 16), Conversion(4, 3, BLUE))
    assert image[:, 0].T.tolist() == [[0x33, 0x12, 0xFF]] * 4


def test_eight_bit_colours_are_transparent_too() -> None:
    colour = np.array([[(1, 2, 3), (1, 2, 4)] * 2] * 4)
    image = read_image(png_of(colour, 8, (1, 2, 3)), Conversion(4, 3, BLUE))
    assert image[:, 0].T.tolist() == [list(BLUE), [1, 2, 4]] * 2


# TIFF variants that Pillow does not write


def tiff_of(values: np.ndarray, bits: int, photometric: int) -> bytes:
    height, width = values.shape
    if bits == 12:
        spread = (values[..., None] >> np.arange(11, -1, -1)) & 1
        data = np.packbits(spread.reshape(height, -1).astype(bool), axis=1).tobytes()
    else:
        data = values.astype("<u2").tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric),
            (273, 8), (277, 1), (278, height), (279, len(data))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


@pytest.mark.parametrize(
    ("bits", "photometric", "value", "grey"),
    [(12, 1, 0x800, 128), (12, 1, 0xFFF, 255), (16, 1, 0x8080, 128), (16, 0, 0x2020, 0xDF)],
)
def test_tiffs_of_12_and_16_bits_keep_their_grey(
    bits: int, photometric: int, value: int, grey: int
) -> None:
    image = read_image(tiff_of(np.full((8, 8), value), bits, photometric), Conversion(8, 1))
    assert np.unique(image).tolist() == [grey]


# `project` and `import`

MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"]
SUFFIXES = [".png", ".jpg", ".tif", ".gif", ".bmp", ".webp", ".ppm", ".qoi", ".jp2"]


@st.composite
def image_files(draw: st.DrawFn, folder: Path) -> Path:
    """A file of any mode, format, orientation and transparency that Pillow can write."""
    mode, suffix = draw(st.sampled_from(MODES)), draw(st.sampled_from(SUFFIXES))
    size = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, size[::-1]).astype(np.uint16))
    elif mode in ("P", "PA"):
        image = Image.fromarray(rng.integers(0, 256, size[::-1]).astype(np.uint8), "P")
        image.putpalette(rng.integers(0, 256, 768).astype(np.uint8).tolist())
        image = image.convert(mode)
    elif mode in ("1", "F"):
        image = Image.fromarray(rng.integers(0, 256, size[::-1]).astype(np.uint8)).convert(mode)
    else:
        bands = [Image.fromarray(rng.integers(0, 256, size[::-1]).astype(np.uint8))
                 for _ in Image.new(mode, (1, 1)).getbands()]  # fmt: skip
        image = Image.merge(mode, bands) if len(bands) > 1 else bands[0]
    options: dict[str, Any] = {}
    orientation = draw(st.integers(0, 9))  # of which 1 to 8 are valid
    if suffix in (".png", ".jpg", ".tif", ".webp"):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    if mode in ("L", "P", "1", "I;16") and suffix in (".png", ".gif") and draw(st.booleans()):
        options["transparency"] = draw(st.sampled_from([0, 1, 255]))
    path = folder / f"image{suffix}"
    try:
        image.save(path, **options)
    except (OSError, ValueError, KeyError, TypeError):  # not in this format
        image.convert("RGB").save(path, **{k: v for k, v in options.items() if k == "exif"})
    return path


@settings(max_examples=80, deadline=None)
@given(
    st.data(),
    st.sampled_from([1, 3]),
    st.sampled_from(["crop", "pad", "stretch"]),
    st.sampled_from([(0, 0, 0), BLUE]),
)
def test_what_project_sees_is_what_import_stores(
    data: st.DataObject, channels: int, fit: Fit, background: tuple[int, int, int]
) -> None:
    conversion = Conversion(16, channels, background, fit)
    with tempfile.TemporaryDirectory() as folder:
        path = data.draw(image_files(Path(folder)))
        reason = reason_of(lambda: convert_image(path, conversion))
        if reason:
            with pytest.raises(UserError, match="not readable as an image") as error:
                read_images([path], conversion)
            assert reason in str(error.value)
            return
        stored = decode_image(convert_image(path, conversion), 16, channels, where="")
        seen = read_images([path], conversion)
        assert np.array_equal(((seen[0] + 1) * 127.5).round().numpy(), stored)
        assert np.array_equal(read_image(path.read_bytes(), conversion), stored)


def reason_of(read: Callable[[], object]) -> str:
    try:
        read()
    except UserError as error:
        return str(error)
    return ""


def test_a_whole_import_agrees_with_project(tmp_path: Path) -> None:
    gradient = np.add.outer(np.arange(20) * 9, np.arange(30) * 2).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = tmp_path / "in"
    save_image(folder / "turned.jpg", Image.fromarray(gradient), exif=exif, quality=95)
    save_image(folder / "deep.png", Image.fromarray(gradient.astype(np.uint16) * 257))
    save_image(folder / "cmyk.tif", Image.fromarray(gradient).convert("CMYK"))
    layer = Image.fromarray(gradient).convert("LA")
    layer.putalpha(Image.fromarray(255 - gradient))
    save_image(folder / "alpha.png", layer)
    options: dict[str, Any] = {"channels": 3, "background": "#00ff00", "fit": "pad"}
    import_images(folder, tmp_path / "set", size=32, workers=1, **options)
    conversion = Conversion(32, 3, (0, 255, 0), "pad")
    samples = read_all(tmp_path / "set")
    seen = read_images([folder / str(each.label["file"]) for each in samples], conversion)
    for sample, image in zip(samples, seen, strict=True):
        stored = decode_image(sample.image, 32, 3, where="")
        assert np.array_equal(((image + 1) * 127.5).round().numpy(), stored)
    assert len(samples) == 4


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".gif", ".webp"])
def test_every_orientation_is_that_of_pillows_own_function(tmp_path: Path, suffix: str) -> None:
    pixels = np.kron(np.arange(32).reshape(8, 4) * 8, np.ones((4, 8))).astype(np.uint8)
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = save_image(tmp_path / f"a{suffix}", Image.fromarray(pixels), exif=exif)
        with Image.open(io.BytesIO(path.read_bytes())) as opened:
            opened.load()
            expected = np.asarray(ImageOps.exif_transpose(opened).convert("L"))
        assert np.array_equal(read_image(path, Conversion(32, 1, fit="stretch"))[0], expected)


# The limit of pixels


def test_the_limit_of_pixels_is_the_same_for_both_and_can_be_raised(tmp_path: Path) -> None:
    path = save_image(tmp_path / "in" / "wide.png", Image.new("1", (3000, 1000), 1))
    small, large = Conversion(8, 1, max_megapixels=2.9), Conversion(8, 1, max_megapixels=3)
    message = r"3000x1000 are 3 megapixels, more than the limit of 2\.9 \(--max-megapixels\)"
    for read in (lambda: convert_image(path, small), lambda: read_images([path], small)):
        with pytest.raises(UserError, match=message):
            read()
    assert read_image(path, large).min() == 255
    with pytest.raises(UserError, match=message):
        import_images(path.parent, tmp_path / "set", size=8, workers=1, max_megapixels=2.9)
    report = import_images(path.parent, tmp_path / "set", size=8, workers=1, max_megapixels=3)
    assert report.manifest.count == 1


def test_pillows_own_limit_neither_applies_nor_changes(tmp_path: Path) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    image = Image.new("1", (20_000, 9_500), 1)  # more than twice its limit, which is an error
    path = save_image(tmp_path / "large.png", image)
    assert read_image(path, Conversion(8, 1, max_megapixels=200)).min() > 250
    assert limit == Image.MAX_IMAGE_PIXELS


def test_every_failure_is_one_reason(tmp_path: Path) -> None:
    good = save_image(tmp_path / "good.png", Image.effect_noise((64, 64), 50)).read_bytes()
    for content, length in itertools.product([good, b"GIF89a", b""], [0, 5, 60, len(good) - 200]):
        with pytest.raises(UserError) as error:
            read_image(content[:length], Conversion(8, 1))
        assert str(error.value)
