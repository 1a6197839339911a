"""One image in a shard: `KEY.png` beside `KEY.json`, written to and read from plain tars."""

import io
import json
import struct
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
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
_BLOCK = 512
_LONGEST_KEY = 240  # bytes: with its extension, a file name that every file system takes


@dataclass(frozen=True)
class Sample:
    """One image and what is known about it.

    key: stem of the members' names in the tar; printable, no dots, no slashes, unique in a set.
    image: a whole PNG file, 8 bits, grey (one channel) or RGB (three), square.
    label: becomes `KEY.json`. "part" and "name" make the image a member of a class; "split" is
        "train" or "validation", and without it the image is for training.
    """

    key: str
    image: bytes
    label: Label


def split_of(label: Label) -> Split:
    """The split that a label names, "train" if it names none.

    Raises UserError for any other word.
    """
    named = label.get("split", "train")
    for split in SPLITS:
        if named == split:
            return split
    raise UserError(f"the label's split is {named!r}; expected one of {', '.join(SPLITS)}")


def check_key(key: str) -> None:
    """Raise UserError unless `key` can be the stem of a tar member's name."""
    if not key or not key.isprintable() or any(sign in key for sign in "./\\"):
        raise UserError(
            f"The key {key!r} cannot name an image in a shard: expected printable characters "
            "without dots and slashes."
        )
    if len(key.encode()) > _LONGEST_KEY:
        raise UserError(f"The key {key!r} is too long: expected at most {_LONGEST_KEY} bytes.")


def check_png_header(sample: Sample, size: int, channels: int) -> None:
    """Raise UserError unless the sample's image claims to be what its set holds.

    Reads the PNG's header only, so that it costs a writer nothing.
    """
    expected = f"an 8-bit {_MODE_OF_CHANNELS[channels]} PNG of {size}x{size} pixels"
    if len(sample.image) < 33 or not sample.image.startswith(_PNG_SIGNATURE):
        raise UserError(f"The image of sample {sample.key!r} is no PNG; expected {expected}.")
    width, height, depth, colour = struct.unpack(">IIBB", sample.image[16:26])
    mode = _MODE_OF_PNG_COLOUR.get(colour, f"colour type {colour}")
    if (width, height, depth, mode) != (size, size, 8, _MODE_OF_CHANNELS[channels]):
        raise UserError(
            f"The image of sample {sample.key!r} is a {depth}-bit {mode} PNG of "
            f"{width}x{height} pixels; expected {expected}."
        )


def add_sample(tar: tarfile.TarFile, sample: Sample) -> None:
    """Append `KEY.png` and `KEY.json` to an open tar; equal samples give equal bytes.

    Raises UserError if the label is not JSON, or holds what a reader would refuse.
    """
    _check_label(sample.label, f"Sample {sample.key!r}")
    try:
        label = json.dumps(sample.label, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise UserError(
            f"The label of sample {sample.key!r} cannot become JSON ({error}); "
            "expected text and finite numbers."
        ) from None
    for extension, content in (("png", sample.image), ("json", label)):
        member = tarfile.TarInfo(f"{sample.key}.{extension}")  # mtime, uid and gid start at 0
        member.mode = 0o644
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def _check_label(label: Label, where: str) -> None:
    for name, value in label.items():
        if not isinstance(name, str) or not isinstance(value, str | int | float):
            raise UserError(f"{where}: {name!r} is {value!r}; expected text or a number.")


def iterate_groups(shard: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (key, {extension: content}) for each run of members with one key, in the tar's order.

    Streams: holds one group at a time and writes nothing to disk.
    Raises UserError naming the shard if it cannot be read, is no tar, or ends too soon.
    """
    key, group, last = "", dict[str, bytes](), "its first member"
    end = 0
    try:
        with tarfile.open(shard, "r|") as tar:
            for member in tar:
                last = member.name
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                if member.issparse():  # its holes can claim any length, and would fill memory
                    raise tarfile.ReadError("a sparse file")
                content = tar.extractfile(member)
                if content is None:  # a folder or a link, which holds nothing of its own
                    continue
                stem, _, extension = member.name.partition(".")
                if group and (stem != key or extension in group):
                    yield key, group
                    group = {}
                key = stem
                group[extension] = content.read()
        _check_nothing_follows(shard, end, last)
    except (tarfile.TarError, ValueError, OverflowError) as error:  # extended headers hold numbers
        raise UserError(
            f"{shard}: cut short or broken at {last} ({error}). Write the set again."
        ) from None
    except OSError as error:
        raise UserError(f"{shard}: cannot be read ({error.strerror or error}).") from None
    if group:
        yield key, group


def _check_nothing_follows(shard: Path, end: int, last: str) -> None:
    # tarfile takes a broken header, or none at all, for the end of the archive and says nothing.
    with shard.open("rb") as file:
        file.seek(end)
        trailer = 0
        while piece := file.read(1 << 20):
            if piece.count(0) != len(piece):
                raise tarfile.ReadError("broken header of the next member")
            trailer += len(piece)
    if trailer < 2 * _BLOCK:
        raise tarfile.ReadError("no end-of-archive mark")


def sample_of(shard: Path, key: str, group: dict[str, bytes]) -> Sample:
    """The sample that a group of members holds; members other than PNG and JSON are passed over.

    Raises UserError naming the shard and the member that is missing or broken.
    """
    for extension in ("png", "json"):
        if extension not in group:
            present = ", ".join(sorted(f"{key}.{name}" for name in group))
            raise UserError(f"{shard}: {key}.{extension} is missing beside {present}.")
    try:
        label = json.loads(group["json"])
    except (ValueError, RecursionError) as error:
        raise UserError(f"{shard}: {key}.json is not JSON ({error}).") from None
    if not isinstance(label, dict):
        raise UserError(f"{shard}: {key}.json holds no object; expected {{name: value}}.")
    _check_label(label, f"{shard}: {key}.json")
    return Sample(key, group["png"], label)


def iterate_members(shard: Path) -> Iterator[Sample]:
    """Yield the samples of one shard in its order, streaming; PNG and JSON may come either way.

    Raises UserError naming the shard, and the member where there is one: cut short, broken JSON,
    PNG or JSON missing.
    """
    for key, group in iterate_groups(shard):
        yield sample_of(shard, key, group)


def decode_image(image: bytes, size: int, channels: int, *, where: str) -> NDArray[np.uint8]:
    """Decode a PNG file to uint8 of shape (channels, size, size), values 0 to 255.

    where: the shard and member, for the message.
    Raises UserError if the image does not decode, or has another size or mode.
    """
    expected = (_MODE_OF_CHANNELS[channels], (size, size))
    try:
        with Image.open(io.BytesIO(image), formats=["PNG"]) as opened:
            found = (opened.mode, opened.size)
            pixels = np.asarray(opened, np.uint8) if found == expected else None
    except Exception as error:  # Pillow lets through whatever its decoders stumble over
        raise UserError(f"{where}: the image does not decode ({error}).") from None
    if pixels is None:
        raise UserError(
            f"{where}: the image is {found[0]} of {found[1][0]}x{found[1][1]} pixels; "
            f"expected {expected[0]} of {size}x{size}."
        )
    return np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))
