"""One sample of a set: a PNG image and its label."""

import io
import struct
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gantrain.common.errors import UserError

Label = dict[str, str | int | float]
Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = get_args(Split)

_MODE_OF_CHANNELS = {1: "L", 3: "RGB"}
_MODE_OF_PNG_COLOUR = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_KEY_BYTES = 240  # with an extension, a valid file name on every file system


@dataclass(frozen=True)
class Sample:
    """An image and its label.

    key: stem of the members' names in the tar; printable, no dots, no slashes, unique in a set.
    image: a complete PNG file, 8 bits, grey (one channel) or RGB (three), square.
    label: content of `KEY.json`. "part" and "name" are the key and the display name of the image's
        class; "split" is "train" (the default) or "validation".
    """

    key: str
    image: bytes
    label: Label


def split_of(label: Label) -> Split:
    """Return the label's split, "train" by default.

    Raises UserError if the label has an unknown split.
    """
    value = label.get("split", "train")
    for split in SPLITS:
        if value == split:
            return split
    raise UserError(f"the label's split is {value!r}; expected one of {', '.join(SPLITS)}")


def class_of(label: Label) -> tuple[str, str]:
    """Return the key ("part") and display name of a label's class; the name defaults to the key.

    Raises UserError if one of them cannot be encoded as UTF-8.
    """
    key = str(label["part"])
    name = str(label.get("name", key))
    try:
        (key + name).encode()
    except UnicodeEncodeError:
        raise UserError(f"the class {key!r}, {name!r} cannot be encoded as UTF-8") from None
    return key, name


def check_key(key: str) -> None:
    """Raise UserError unless `key` can be the stem of a tar member's name."""
    if not key or not key.isprintable() or any(character in key for character in "./\\"):
        raise UserError(
            f"The key {key!r} cannot name an image in a shard: expected printable characters "
            "without dots and slashes."
        )
    if len(key.encode()) > _MAX_KEY_BYTES:
        raise UserError(f"The key {key!r} is too long: expected at most {_MAX_KEY_BYTES} bytes.")


def check_label(label: Label, where: str) -> None:
    """Raise UserError, prefixed with `where`, unless all values are text or numbers."""
    for name, value in label.items():
        if not isinstance(name, str) or not isinstance(value, str | int | float):
            raise UserError(f"{where}: {name!r} is {value!r}; expected text or a number.")


def check_png_header(sample: Sample, size: int, channels: int) -> None:
    """Raise UserError unless the image's PNG header declares the set's size and channels.

    Only the header is read, so the check costs a writer next to nothing.
    """
    expected = f"an 8-bit {_MODE_OF_CHANNELS[channels]} PNG of {size}x{size} pixels"
    if len(sample.image) < 33 or not sample.image.startswith(_PNG_SIGNATURE):
        raise UserError(f"The image of sample {sample.key!r} is not a PNG; expected {expected}.")
    width, height, depth, colour = struct.unpack(">IIBB", sample.image[16:26])
    mode = _MODE_OF_PNG_COLOUR.get(colour, f"colour type {colour}")
    if (width, height, depth, mode) != (size, size, 8, _MODE_OF_CHANNELS[channels]):
        raise UserError(
            f"The image of sample {sample.key!r} is a {depth}-bit {mode} PNG of "
            f"{width}x{height} pixels; expected {expected}."
        )


def decode_image(image: bytes, size: int, channels: int, *, where: str) -> NDArray[np.uint8]:
    """Decode a PNG file to uint8 of shape (channels, size, size), values 0 to 255.

    where: the shard and member, for the error message.

    Raises UserError if the image cannot be decoded or has another size or mode.
    """
    expected = (_MODE_OF_CHANNELS[channels], (size, size))
    try:
        with Image.open(io.BytesIO(image), formats=["PNG"]) as opened:
            actual = (opened.mode, opened.size)
            pixels = np.asarray(opened, np.uint8) if actual == expected else None
    except Exception as error:  # Pillow's decoders raise many types of errors on damaged files
        raise UserError(f"{where}: the image does not decode ({error}).") from None
    if pixels is None:
        raise UserError(
            f"{where}: the image is {actual[0]} of {actual[1][0]}x{actual[1][1]} pixels; "
            f"expected {expected[0]} of {size}x{size}."
        )
    return np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))
