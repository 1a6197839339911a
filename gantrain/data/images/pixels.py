"""The pixels of an opened image file as 8-bit grey or RGB, upright, without transparency."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile

from gantrain.common.errors import UserError

_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
# Pillow scales the pixels of these PNGs to 8 bits, but not their transparent grey level.
_SCALE_OF_RAW_MODE = {"L;2": 85, "L;4": 17}
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF tags
_WHITE_IS_ZERO = 0
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_flat(
    image: ImageFile,
    channels: int,
    background: tuple[int, int, int],
    reopen: Callable[[], AbstractContextManager[ImageFile]],
) -> Image.Image:
    """Load an opened image and return it as 8-bit L (one channel) or RGB (three).

    Applies the EXIF orientation, puts transparent pixels on the background, and scales grey of 12
    and 16 bits to 8.

    reopen: opens the same file again.

    Raises UserError for pixels without a defined range. Pillow's errors propagate.
    """
    raw_mode = str(image.tile[0].args) if image.tile else ""  # loading forgets it
    image.load()
    upright = _UPRIGHT.get(_orientation(image))
    flat = flatten(_with_alpha(image, raw_mode, reopen), channels, background)
    return flat if upright is None else flat.transpose(upright)


def flatten(image: Image.Image, channels: int, background: tuple[int, int, int]) -> Image.Image:
    """Return an 8-bit image as L (one channel) or RGB (three), on the background."""
    flat = _on_background(image, background)
    if flat.mode not in ("L", "RGB"):
        flat = flat.convert("RGB")  # CMYK and palettes: grey is computed from RGB
    return flat.convert("L" if channels == 1 else "RGB")


def _orientation(image: ImageFile) -> int:
    with suppress(Exception):  # broken EXIF does not affect the pixels
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _with_alpha(
    image: ImageFile, raw_mode: str, reopen: Callable[[], AbstractContextManager[ImageFile]]
) -> Image.Image:
    """Return an image of at most 8 bits; a transparent colour becomes alpha where Pillow errs."""
    transparent = image.info.get("transparency")
    if image.mode in _SIXTEEN_BITS or (
        image.mode == "I" and image.format in ("PNG", "PPM")  # 16-bit values in 32-bit pixels
    ):
        values = np.asarray(image).astype(np.uint32).clip(0, 65535)
        grey = Image.fromarray(_eight_bits(values, image))
        return _add_alpha(grey, values == transparent) if isinstance(transparent, int) else grey
    if image.mode in ("I", "F"):
        raise UserError(f"32-bit pixels (mode {image.mode}), which have no defined range")
    if isinstance(transparent, int) and raw_mode in _SCALE_OF_RAW_MODE:
        level = transparent * _SCALE_OF_RAW_MODE[raw_mode]
        return _add_alpha(image, np.asarray(image) == level)
    if isinstance(transparent, tuple) and raw_mode == "RGB;16B":
        # Pillow keeps the high bytes of such a PNG alone, with which other colours would match.
        with reopen() as low_bytes:
            low_bytes.tile = [tile._replace(args="RGB;16L") for tile in low_bytes.tile]
            low = np.asarray(low_bytes).astype(np.uint16)
        values = np.asarray(image).astype(np.uint16) * 256 + low
        return _add_alpha(image, (values == np.array(transparent)).all(axis=-1))
    return image


def _eight_bits(values: NDArray[np.uint32], image: Image.Image) -> NDArray[np.uint8]:
    tags = getattr(image, "tag_v2", {})
    maximum = 4095 if tags.get(_BITS_PER_SAMPLE) == (12,) else 65535
    scaled = ((values * 255 + maximum // 2) // maximum).clip(0, 255).astype(np.uint8)
    return 255 - scaled if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else scaled


def _add_alpha(image: Image.Image, transparent: NDArray[np.bool_]) -> Image.Image:
    layer = image.copy()
    layer.info.pop("transparency", None)
    layer.putalpha(Image.fromarray(np.where(transparent, 0, 255).astype(np.uint8)))
    return layer


def _on_background(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    ground = Image.new("RGBA", layer.size, (*background, 255))
    return Image.alpha_composite(ground, layer)
