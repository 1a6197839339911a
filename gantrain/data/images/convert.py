"""The one reader of users' images: to square 8-bit images of a set's size and channels."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from gantrain.common.errors import UserError
from gantrain.data.images.pixels import flatten, load_flat

Fit = Literal["crop", "pad", "shrink", "stretch"]
FITS: tuple[Fit, ...] = get_args(Fit)
MAX_MEGAPIXELS = 100.0

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


@dataclass(frozen=True)
class Conversion:
    """The target format of an image, and how to get there.

    size: width and height in pixels.
    channels: 1 for grey (ITU-R 601 luma), 3 for RGB.
    background: colour behind transparent pixels and in the padding.
    fit: "crop" keeps the largest centred square, "pad" adds background to make a square,
        "shrink" does so and enlarges no image: smaller ones keep their pixels, with background
        around them; "stretch" ignores the aspect ratio.
    max_megapixels: larger images are not read: small files can claim sizes that fill the memory.
    """

    size: int
    channels: int
    background: tuple[int, int, int] = (0, 0, 0)
    fit: Fit = "crop"
    max_megapixels: float = MAX_MEGAPIXELS


def describe_resize(width: int, height: int, conversion: Conversion) -> str:
    """Return what becomes of images of this size, in one sentence for the user."""
    size = conversion.size
    before, after = f"{width}x{height}", f"{size}x{size}"
    if (width, height) == (size, size):
        return f"size: {before}, as stored"
    if max(width, height) > size:
        return f"size: {before}, resized to {after} (--fit {conversion.fit})"
    if conversion.fit == "shrink":
        return f"size: {before}, with background around them to {after} (--fit shrink)"
    return (
        f"size: {before}, enlarged to {after} (--fit {conversion.fit}; shrink keeps the pixels and "
        "adds background around them)"
    )


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


Readable = Path | bytes | NDArray[np.uint8]


def convert_image(source: Readable, conversion: Conversion) -> bytes:
    """Read an image file, its content or pixels, and return the converted PNG; see `read_image`."""
    file = io.BytesIO()
    _read(source, conversion).save(file, "PNG")
    return file.getvalue()


def read_image(source: Readable, conversion: Conversion) -> NDArray[np.uint8]:
    """Read an image file, its content or pixels, and return uint8 (channels, size, size).

    source: pixels have the shape (H, W) or (H, W, C) with 1 to 4 channels: grey, grey and alpha,
        RGB, RGB and alpha.

    Uses the first frame of an animation, applies the EXIF orientation, and scales 16-bit grey to
    8 bits. Equal files give equal images.

    Raises UserError with the reason, without the file's name, if the image cannot be read.
    """
    pixels = np.atleast_3d(np.asarray(_read(source, conversion)))
    return pixels.transpose(2, 0, 1).copy()


def _read(source: Readable, conversion: Conversion) -> Image.Image:
    if isinstance(source, np.ndarray):
        _check_megapixels(source.shape[1], source.shape[0], conversion)
        pixels = source[..., 0] if source.ndim == 3 and source.shape[2] == 1 else source
        flat = flatten(Image.fromarray(pixels), conversion.channels, conversion.background)
        return _square(flat, conversion)
    try:
        with _own_limits(), _opened(source) as image:
            _check_megapixels(image.width, image.height, conversion)
            image.draft(None, (2 * conversion.size, 2 * conversion.size))  # JPEGs decode faster
            flat = load_flat(
                image, conversion.channels, conversion.background, lambda: _opened(source)
            )
            return _square(flat, conversion)
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise many types of errors on damaged files
        raise UserError(_reason(source, error)) from None


def _check_megapixels(width: int, height: int, conversion: Conversion) -> None:
    megapixels = width * height / 1e6
    if megapixels > conversion.max_megapixels:
        raise UserError(
            f"{width}x{height} are {megapixels:.4g} megapixels, more than the limit of "
            f"{conversion.max_megapixels:g} (--max-megapixels)"
        )


@contextmanager
def _own_limits() -> Iterator[None]:
    """Replace Pillow's warnings and its limit of pixels by our own check."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not about anything that prevents reading
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def _opened(source: Path | bytes) -> Iterator[ImageFile]:
    # Pillow maps files that it opens by name, and then scrambles TIFFs that are to be turned.
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:  # noqa: SIM117
        with Image.open(file, formats=_formats()) as image:
            yield image


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _SUFFIXES_OF_FORMAT if name in Image.OPEN)


def _reason(source: Path | bytes, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        length = len(source) if isinstance(source, bytes) else source.stat().st_size
        return "not an image in a supported format" if length else "an empty file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _square(image: Image.Image, conversion: Conversion) -> Image.Image:
    width, height = image.size
    size = conversion.size
    if conversion.fit == "stretch":
        return _resized(image, size, size)
    if conversion.fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return _resized(image.crop((left, top, left + side, top + side)), size, size)
    side = max(width, height, size if conversion.fit == "shrink" else 0)
    inner = (max(1, round(size * width / side)), max(1, round(size * height / side)))
    ground = Image.new("RGB", (size, size), conversion.background).convert(image.mode)
    shrunk = _resized(image, *inner)
    ground.paste(shrunk, ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return ground


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
