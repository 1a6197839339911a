"""Random access to the images of a shard, by an index of byte offsets.

A shard whose hash is correct is indexed from its headers alone, about ten times faster than with
`tarfile`. Any other shard is scanned defensively, to recover what is readable and to report the
rest.
"""

import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError, os_reason
from gantrain.common.files import replacing
from gantrain.common.text import counted, printable
from gantrain.data.images.convert import Conversion
from gantrain.data.shards.faults import Fault
from gantrain.data.shards.manifest import ShardEntry
from gantrain.data.shards.reader import parse_sample
from gantrain.data.shards.samples import Label, decode_image
from gantrain.data.shards.tar_headers import Member, read_members, split_member_name

_PNG_SIGNATURE_BYTES = 8
_WHERE = "<where>"


@dataclass(frozen=True)
class ShardIndex:
    """Byte ranges of the images and labels of one shard, in its order.

    offsets: int64 of shape (count, 4): offset and length of the PNG, offset and length of the JSON.
        A length of 0 means that the member is missing.
    faults: defects of the shard; empty if its bytes are unchanged.
    """

    offsets: NDArray[np.int64]
    faults: tuple[Fault, ...]


class ShardReader:
    """An open shard with random access to its images."""

    def __init__(self, path: Path, entry: ShardEntry, index: ShardIndex) -> None:
        self.path = path
        self.entry = entry
        self.index = index
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Defects of the shard as a whole."""
        return self.index.faults

    def has_image(self, row: int) -> bool:
        """Return whether the row-th image is there; if not, a fault of the shard says so."""
        return bool(self.index.offsets[row, 1])

    def read_image(self, row: int, conversion: Conversion) -> NDArray[np.uint8]:
        """Decode the row-th image; see `ImageReader`."""
        png = self.png(row)
        try:
            return decode_image(png, conversion.size, conversion.channels, where=_WHERE)
        except UserError as error:  # reading the member's name costs time; errors alone need it
            raise UserError(str(error).replace(_WHERE, self.where(row))) from None

    def png(self, row: int) -> bytes:
        """Return the PNG of the row-th image.

        Raises UserError naming the shard, and the member where there is one, if the image is
        missing or its bytes have changed since it was written.
        """
        offset, length = (int(n) for n in self.index.offsets[row, :2])
        if not length:
            raise UserError(f"{self.path}: image {row} of {self.entry.count} is missing")
        content = self._read(offset, length)
        if not has_valid_checksums(content):
            raise UserError(f"{self.where(row)}: its bytes have changed: a PNG checksum is wrong")
        return content

    def label(self, row: int) -> Label:
        """Return the label of the row-th image. Raises UserError as `png` does."""
        offset, length = (int(n) for n in self.index.offsets[row, 2:])
        if not length:
            raise UserError(f"{self.path}: the label of image {row} is missing")
        group = {"png": b"", "json": self._read(offset, length)}
        try:
            return parse_sample(self.path, "", group).label
        except UserError:  # finding the key costs time; errors alone need it
            return parse_sample(self.path, self.key(row), group).label

    def key(self, row: int) -> str:
        """Return the key of the row-th image, such as `3001-L-0007`; printable."""
        name = self._name(row)
        return (split_member_name(name) or (name, ""))[0]

    def where(self, row: int) -> str:
        """Return the shard and the member, for error messages."""
        return f"{self.path}: {self._name(row)}"

    def _name(self, row: int) -> str:
        offset = int(self.index.offsets[row, 0])
        return self._names.get(offset, f"the member at byte {offset}")

    @cached_property
    def _names(self) -> dict[int, str]:
        return _member_names(self.path)

    def _read(self, offset: int, length: int) -> bytes:
        try:
            content = os.pread(self._file, length, offset)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({os_reason(error)})") from None
        if len(content) != length:
            raise UserError(f"{self.path}: truncated while it was being read")
        return content


def open_shard(path: Path, entry: ShardEntry, indexes: Path | None = None) -> ShardReader:
    """Open a shard for random access.

    indexes: a folder that keeps the indexes of valid shards for other processes and runs. If it
        has the shard's index, the shard's hash is not checked again.

    Raises UserError naming the shard if it cannot be opened. Defects inside are in the index.
    """
    kept = indexes / f"{entry.sha256}.npy" if indexes is not None else None
    try:
        index = _load_index(kept, entry, path.stat().st_size) if kept is not None else None
        if index is None:
            index = index_shard(path, entry)
            if kept is not None and not index.faults:
                _keep_index(kept, index)
        return ShardReader(path, entry, index)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({os_reason(error)})") from None


def _keep_index(kept: Path, index: ShardIndex) -> None:
    # An index only saves time; a full disk is not an error here.
    with (
        suppress(OSError),
        replacing(kept, concurrent=True) as temporary,
        temporary.open("wb") as file,
    ):
        np.save(file, index.offsets)


def _load_index(kept: Path, entry: ShardEntry, length: int) -> ShardIndex | None:
    if length != entry.bytes or not kept.exists():
        return None
    try:
        offsets = np.load(kept, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if offsets.dtype != np.int64 or offsets.shape != (entry.count, 4):
        return None
    return ShardIndex(offsets, ())


def index_shard(path: Path, entry: ShardEntry) -> ShardIndex:
    """Index the images of a shard, and verify the shard against its manifest entry.

    Raises OSError if the file cannot be read.
    """
    reasons = []
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        if length != entry.bytes:
            reasons.append(entry.describe_length(length))
        elif hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
            reasons.append("its bytes have changed: SHA-256 differs from the manifest's")
        try:
            if reasons:
                raise ValueError
            offsets, samples = _collect_offsets(read_members(path), entry.count)
        except ValueError:
            offsets, samples = _collect_offsets(_scan_defensively(path), entry.count)
            reasons += _changed_images(path, file.fileno(), offsets)
    broken = (offsets[:, [1, 3]] == 0).any(axis=1)
    offsets[broken] = 0
    missing = int(broken.sum())
    if not reasons and (missing or samples != entry.count):
        complete = entry.count - missing + max(samples - entry.count, 0)
        reasons.append(f"contains {counted(complete, 'sample')}; the manifest lists {entry.count}")
    faults = (Fault(str(path), "; ".join(reasons), missing),) if reasons else ()
    return ShardIndex(offsets, faults)


def _changed_images(path: Path, file: int, offsets: NDArray[np.int64]) -> list[str]:
    """Return a reason that names the images with wrong checksums, if there are any."""
    wrong = [
        offset
        for offset, length in offsets[:, :2].tolist()
        if length and not has_valid_checksums(os.pread(file, length, offset))
    ]
    if not wrong:
        return []
    names = _member_names(path)
    some = ", ".join(names.get(offset, f"byte {offset}") for offset in wrong[:3])
    return [f"the checksum of {some} is wrong"]


def _member_names(path: Path) -> dict[int, str]:
    """Return the names of a shard's members by the offset of their content."""
    try:
        return {member.offset: member.name for member in read_members(path)}
    except ValueError:
        return {member.offset: member.name for member in _scan_defensively(path)}


def _collect_offsets(members: Iterator[Member], count: int) -> tuple[NDArray[np.int64], int]:
    """Return the offsets of the first `count` samples, and the total number of samples."""
    offsets = np.zeros((count, 4), np.int64)
    row, key, seen = -1, None, set[str]()
    for name, offset, length in members:
        parts = split_member_name(name)
        if parts is None:
            continue
        stem, extension = parts
        if stem != key or extension in seen:
            row, key, seen = row + 1, stem, set()
        seen.add(extension)
        column = {"png": 0, "json": 2}.get(extension)
        if column is not None and row < count:
            offsets[row, column : column + 2] = offset, length
    return offsets, row + 1


def _scan_defensively(path: Path) -> Iterator[Member]:
    """Yield the members of a tar up to the first broken header."""
    end = path.stat().st_size
    # ValueError and OverflowError come from invalid numbers in extended headers.
    with (
        suppress(tarfile.TarError, ValueError, OverflowError),
        tarfile.open(path, "r:", encoding="utf-8", errors="backslashreplace") as tar,
    ):
        for member in tar:
            # The holes of a sparse file can claim any length.
            plain = member.isreg() and not member.issparse() and member.size > 0
            if plain and member.offset_data + member.size <= end:
                yield Member(printable(member.name), member.offset_data, member.size)


def has_valid_checksums(png: bytes) -> bool:
    """Return whether every chunk of a PNG file matches its CRC-32.

    Pillow does not check the image data chunks.
    """
    position, end, view = _PNG_SIGNATURE_BYTES, len(png), memoryview(png)
    while position + 12 <= end:
        after = position + 8 + int.from_bytes(view[position : position + 4], "big")
        if after + 4 > end:
            return False
        if zlib.crc32(view[position + 4 : after]) != int.from_bytes(view[after : after + 4], "big"):
            return False
        if png[position + 4 : position + 8] == b"IEND":
            return True
        position = after + 4
    return False
