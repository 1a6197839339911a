"""IDX files, the format of MNIST: `train-images-idx3-ubyte.gz`, `train-labels-idx1-ubyte.gz`.

A file is a type, a number of dimensions, the dimensions and the values, all big-endian
(http://yann.lecun.com/exdb/mnist/).
"""

import gzip
import math
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError, os_reason
from gantrain.data.importing.filenames import display_path, natural_order
from gantrain.data.importing.listing import count_suffixes
from gantrain.data.importing.rows import Rows, check_count, open_rows
from gantrain.data.importing.sources import MAX_IN_MEMORY, Source, SourceOptions
from gantrain.data.importing.splits import customary_split

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_NAME = re.compile(r"(?P<stem>.*idx\d[-._].*?)(?P<gz>\.gz)?", re.IGNORECASE | re.DOTALL)
_IMAGES = re.compile(
    r"(?P<set>.*?)[-._]?images?[-._]idx(?P<dimensions>\d)[-._].*", re.IGNORECASE | re.DOTALL
)
_GZIP_MAGIC = b"\x1f\x8b"


def has_name(name: str) -> bool:
    """Return whether a file's name is one of an IDX file."""
    return _NAME.fullmatch(name) is not None


def has_head(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is an IDX file, compressed or not."""
    if head.startswith(_GZIP_MAGIC):
        try:
            head = zlib.decompressobj(31).decompress(head, 4)
        except zlib.error:
            return False
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in _TYPES and 1 <= head[3] <= 4


def open_idx(path: Path, files: Sequence[Path], options: SourceOptions) -> Source:
    """Open IDX files of images, each with the file of its labels beside it.

    The images of `train-…` are named `train/…`, those of `t10k-…` and `test-…` `test/…`, so that
    they are splits. The labels are in the file with `labels` in place of `images` in its name.

    Raises UserError if a file is damaged or of another type or shape, if the number of labels is
    not that of the images, or if the files are those of several sets.
    """
    chosen = _choose_images(path, files)
    parts: list[Rows] = []
    labelled: list[Path] = []
    for folder, file in chosen.items():
        images = _read_images(file)
        labels = _find_labels(file)
        if labels is None:
            parts.append(Rows(folder, images))
        else:
            parts.append(Rows(folder, images, _read_labels(labels, file, len(images))))
            labelled.append(labels)
    kind = f"IDX ({', '.join(file.name for file in chosen.values())})"
    source = open_rows(path, kind, parts, ", ".join(file.name for file in labelled))
    used = {_stem(file) for file in (*chosen.values(), *labelled)}
    source.ignored = count_suffixes(file for file in files if _stem(file) not in used)
    return source


def _stem(file: Path) -> Path:
    """Return the path of a file without `.gz`."""
    return file.with_suffix("") if file.suffix.lower() == ".gz" else file


def _choose_images(path: Path, files: Sequence[Path]) -> dict[str, Path]:
    """Return the files of images by the folder in whose name their images are, "" for none."""
    # The later of equal keys counts: a file, where it is beside its compressed copy.
    by_stem = {_stem(file): file for file in sorted(files, key=lambda file: file == _stem(file))}
    by_set: dict[tuple[Path, str], dict[str, Path]] = {}
    for file in by_stem.values():
        match = _IMAGES.fullmatch(file.name)
        if match is not None:
            name, folder = _split_name(match["set"])
            by_set.setdefault((file.parent, name), {})[folder] = file
    if not by_set and list(files) == [path]:
        return {"": path}
    if not by_set:
        raise UserError(
            f"{path}: contains {display_path(files[0].name)}, but no IDX file of images; expected "
            "a name such as `train-images-idx3-ubyte.gz`."
        )
    if len(by_set) > 1:
        examples = [next(iter(found.values())) for found in by_set.values()]
        raise UserError(
            f"{path}: contains the IDX files of several sets, such as "
            f"{' and '.join(str(file.relative_to(path)) for file in examples[:2])}; give one file "
            "of images, or a folder with the files of one set."
        )
    (found,) = by_set.values()
    return dict(sorted(found.items(), key=lambda item: natural_order(item[0])))


def _split_name(text: str) -> tuple[str, str]:
    """Return the name of a set and the folder of its split, such as ("emnist", "train")."""
    others, folder = [], ""
    for word in re.split(r"[-._]", text.casefold()):
        if not folder and (word == "t10k" or customary_split(word) is not None):
            folder = "test" if word == "t10k" else word
        else:
            others.append(word)
    return "-".join(others), folder


def _find_labels(images: Path) -> Path | None:
    """Return the file with the labels of a file of images, or None."""
    wanted = re.sub(r"images?([-._])idx\d", r"label\1idx1", _stem(images).name.casefold())
    by_name = {
        re.sub(r"labels([-._]idx)", r"label\1", _stem(file).name.casefold()): file
        for file in sorted(images.parent.iterdir(), key=lambda file: file == _stem(file))
    }
    found = by_name.get(wanted)
    return None if found is None or found == images else found


def _read_images(file: Path) -> NDArray[np.uint8]:
    """Return the images of a file, uint8 (N, H, W)."""
    array = read_idx(file)
    if array.dtype != np.uint8 or array.ndim != 3:
        raise UserError(
            f"{file}: contains {array.dtype.name} of {array.ndim} dimensions; expected images: "
            "uint8 of 3 dimensions (number, height, width)."
        )
    if 0 in array.shape:
        raise UserError(f"{file}: contains no pixels; its shape is {array.shape}.")
    return array


def _read_labels(file: Path, images: Path, count: int) -> list[str]:
    labels = read_idx(file)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise UserError(
            f"{file}: contains {labels.dtype.name} of {labels.ndim} dimensions; expected labels: "
            "integers of 1 dimension."
        )
    check_count(labels, count, str(file), images.name)
    return [str(label) for label in labels.tolist()]


def read_idx(file: Path) -> NDArray[Any]:
    """Return the values of an IDX file; mapped, or in memory if it is compressed (`.gz`).

    Raises UserError if it cannot be read, is not an IDX file, or contains more or fewer values
    than its header states.
    """
    try:
        with file.open("rb") as raw:
            if raw.read(2) == _GZIP_MAGIC:
                raw.seek(0)
                with gzip.open(raw) as unpacked:
                    return _read_values(file, cast("BinaryIO", unpacked))
            raw.seek(0)
            dtype, shape = _read_header(file, raw)
            start, end = raw.tell(), raw.seek(0, 2)
        expected = math.prod(shape) * dtype.itemsize
        if end - start != expected:
            raise _wrong_length(file, shape, expected, f"{end - start:,}")
        if not expected:
            return np.empty(shape, dtype)
        return np.memmap(file, dtype, "r", start, shape)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{file}: damaged or cut off ({error}); download or copy it again."
        ) from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({os_reason(error)}).") from None


def _read_values(file: Path, unpacked: BinaryIO) -> NDArray[Any]:
    dtype, shape = _read_header(file, unpacked)
    expected = math.prod(shape) * dtype.itemsize
    if expected > MAX_IN_MEMORY:
        raise UserError(
            f"{file}: its values are {expected / 1e9:.1f} GB, which is too much to decompress in "
            "memory; decompress it first (gunzip), then it is mapped."
        )
    values = bytearray()
    while len(values) <= expected and (block := unpacked.read(1 << 20)):
        values += block
    if len(values) != expected:
        found = f"{len(values):,}" if len(values) < expected else "more"
        raise _wrong_length(file, shape, expected, found)
    return np.frombuffer(values, dtype).reshape(shape)


def _read_header(file: Path, content: BinaryIO) -> tuple[np.dtype[Any], tuple[int, ...]]:
    head = content.read(4)
    if not has_head(head):
        raise UserError(
            f"{file}: not an IDX file; expected two zero bytes, a type and a number of dimensions "
            f"from 1 to 4, but it begins with {head.hex(' ') or 'nothing'}."
        )
    dimensions = content.read(4 * head[3])
    if len(dimensions) < 4 * head[3]:
        raise UserError(f"{file}: cut off within its header; download or copy it again.")
    return np.dtype(_TYPES[head[2]]), struct.unpack(f">{head[3]}I", dimensions)


def _wrong_length(file: Path, shape: tuple[int, ...], expected: int, found: str) -> UserError:
    return UserError(
        f"{file}: its header states the shape {shape}, which is {expected:,} bytes, but {found} "
        "follow it; download or copy it again."
    )
