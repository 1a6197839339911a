"""Random access to the images of a tar by another tool, through its index."""

import hashlib
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError, os_reason
from gantrain.data.images.convert import Conversion, read_image
from gantrain.data.shards.faults import Fault
from gantrain.data.shards.image_index import ImageIndex
from gantrain.data.shards.manifest import ShardEntry
from gantrain.data.shards.samples import Label
from gantrain.data.shards.tar_headers import split_member_name


class IndexedTar:
    """An open tar by another tool; an `ImageReader`.

    intact: bool (N,), which images have unchanged bytes.
    """

    def __init__(
        self, path: Path, index: ImageIndex, intact: NDArray[np.bool_], faults: tuple[Fault, ...]
    ) -> None:
        self.path = path
        self.index = index
        self.faults = faults
        self._intact = intact
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def has_image(self, row: int) -> bool:
        """Return whether the row-th image has unchanged bytes; if not, a fault says so."""
        return bool(self._intact[row])

    def read_image(self, row: int, conversion: Conversion) -> NDArray[np.uint8]:
        """Decode and convert the row-th image; see `ImageReader`."""
        try:
            content = read_range(self._file, self.index, row)
            if content is None:
                raise UserError("its bytes have changed: the checksum is wrong")
            return read_image(content, conversion)
        except UserError as error:
            raise UserError(f"{self.where(row)}: {error}") from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({os_reason(error)})") from None

    def label(self, row: int) -> Label:
        """Return class, split and, as "file", the name of the row-th image's member."""
        return {**self.index.label(row), "file": self.index.names[row]}

    def key(self, row: int) -> str:
        """Return the key of the row-th image's sample, such as `train/n01440764/img`."""
        name = self.index.names[row]
        return (split_member_name(name) or (name, ""))[0]

    def where(self, row: int) -> str:
        """Return the tar and the member, for error messages."""
        return f"{self.path}: {self.index.names[row]}"


def open_indexed_tar(
    path: Path, entry: ShardEntry, index: ImageIndex, *, thorough: bool = False
) -> IndexedTar:
    """Open a tar by another tool for random access.

    thorough: compare the whole tar with its SHA-256. Otherwise only its length and some images are
        compared at first, since tars may be large and each image is compared when it is read.

    Raises UserError naming the tar if it cannot be read. Defects are in the reader's `faults`.
    """
    try:
        unchanged = not thorough and _seems_unchanged(path, entry, index)
        intact, reasons = (
            (np.ones(len(index), np.bool_), []) if unchanged else _compare(path, entry, index)
        )
        missing = int((~intact).sum())
        faults = (Fault(str(path), "; ".join(reasons), missing),) if reasons else ()
        return IndexedTar(path, index, intact, faults)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({os_reason(error)})") from None


def _seems_unchanged(path: Path, entry: ShardEntry, index: ImageIndex) -> bool:
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_size == entry.bytes and all(
            read_range(file.fileno(), index, row) is not None
            for row in (0, len(index) // 2, len(index) - 1)
        )


def parse_index(where: Path | str, entry: ShardEntry, content: bytes) -> ImageIndex:
    """Return the index of a tar from the content of its file.

    where: the file or its URL.

    Raises UserError naming the file if it is not the one that the manifest lists.
    """
    if hashlib.sha256(content).hexdigest() != entry.index:
        raise UserError(f"{where}: its bytes have changed: SHA-256 differs from the manifest's")
    try:
        return ImageIndex.from_bytes(content, entry.count, entry.bytes)
    except ValueError as error:
        raise UserError(f"{where}: not the index of {entry.name} ({error})") from None


def _compare(
    path: Path, entry: ShardEntry, index: ImageIndex
) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which images of a tar have unchanged bytes, and what is wrong with the tar."""
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        if length != entry.bytes:
            reasons = [entry.describe_length(length, "when it was indexed")]
        elif hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
            reasons = ["its bytes have changed since it was indexed"]
        else:
            return np.ones(len(index), np.bool_), []
        intact = [read_range(file.fileno(), index, row) is not None for row in range(len(index))]
    wrong = [index.names[row] for row in range(len(index)) if not intact[row]]
    if wrong:
        some = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        reasons.append(f"the checksum of {some} is wrong")
    return np.array(intact, np.bool_), reasons


def read_range(file: int, index: ImageIndex, row: int) -> bytes | None:
    """Return the bytes of the row-th image from an open tar; None if they have changed."""
    offset, length = (int(n) for n in index.ranges[row])
    content = os.pread(file, length, offset)
    return content if zlib.crc32(content) == index.crc32[row] else None
