"""Conversion of image files to square 8-bit PNGs of a set's size and channels."""

import io
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from gantrain.common.errors import UserError

Fit = Literal["crop", "pad", "stretch"]
FITS: tuple[Fit, ...] = get_args(Fit)

# Only these formats: one of Pillow's other readers runs Ghostscript, and some accept any bytes.
_SUFFIXES_OF_FORMAT = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k"),
    "AVIF": (".avif",),
    "QOI": (".qoi",),
}
SUFFIXES = frozenset(suffix for each in _SUFFIXES_OF_FORMAT.values() for suffix in each)
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Conversion:
    """The target format of an image, and how to get there.

    size: width and height in pixels.
    channels: 1 for grey (ITU-R 601 luma), 3 for RGB.
    background: colour behind transparent pixels and in the padding.
    fit: "crop" keeps the largest centred square, "pad" adds background to make a square,
        "stretch" ignores the aspect ratio.
    """

    size: int
    channels: int
    background: tuple[int, int, int]
    fit: Fit


def parse_background(colour: str) -> tuple[int, int, int]:
    """Return the RGB values (0 to 255) of a colour name, `#rrggbb` or `rgb(r, g, b)`.

    Raises UserError for any other text.
    """
    try:
        return ImageColor.getrgb(colour)[:3]
    except ValueError:
        raise UserError(
            f"background is {colour!r}; expected a colour such as white, black or #d0d0d0."
        ) from None


def convert_image(path: Path, conversion: Conversion) -> bytes:
    """Read an image file and return the converted PNG.

    Uses the first frame of an animation, applies the EXIF orientation, and scales 16-bit grey to
    8 bits. Equal files give equal bytes.

    Raises UserError with the reason, without the file's name, if the image cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not about anything that prevents reading
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_formats()) as image:
                image.draft(None, (2 * conversion.size, 2 * conversion.size))  # JPEGs decode faster
                image.load()
                flat = _flatten(_upright(image), conversion, image.format)
            square = _square(flat, conversion)
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise many types of errors on damaged files
        raise UserError(_reason(path, error)) from None
    file = io.BytesIO()
    square.save(file, "PNG")
    return file.getvalue()


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _SUFFIXES_OF_FORMAT if name in Image.OPEN)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
        return f"more than {Image.MAX_IMAGE_PIXELS} pixels"
    if isinstance(error, UnidentifiedImageError):
        empty = path.stat().st_size == 0
        return "an empty file" if empty else "not an image in a supported format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF does not affect the pixels
        return image


def _flatten(image: Image.Image, conversion: Conversion, format: str | None) -> Image.Image:
    """Return the image as 8-bit L or RGB, composited on the background."""
    mode = "L" if conversion.channels == 1 else "RGB"
    if image.mode in _SIXTEEN_BITS or (
        image.mode == "I" and format in ("PNG", "PPM")  # 16-bit values in 32-bit pixels
    ):
        values = np.asarray(image).astype(np.uint32).clip(0, 65535)
        image = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise UserError(f"32-bit pixels (mode {image.mode}), which have no defined range")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (*conversion.background, 255))
        image = Image.alpha_composite(ground, layer)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")  # CMYK and palettes: grey is computed from RGB
    return image.convert(mode)


def _square(image: Image.Image, conversion: Conversion) -> Image.Image:
    width, height = image.size
    size = conversion.size
    if conversion.fit == "stretch":
        return _resized(image, size, size)
    if conversion.fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return _resized(image.crop((left, top, left + side, top + side)), size, size)
    side = max(width, height)
    inner = (max(1, round(size * width / side)), max(1, round(size * height / side)))
    ground = Image.new("RGB", (size, size), conversion.background).convert(image.mode)
    shrunk = _resized(image, *inner)
    ground.paste(shrunk, ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return ground


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
