"""Where each image of a shard lies, so that it can be read alone and in any order.

A shard whose hash is right is walked by its headers alone, some ten times faster than `tarfile`
does it; any other is read with care, to save what can be saved and to say what is wrong.
"""

import hashlib
import mmap
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError
from gantrain.common.files import replacing
from gantrain.data.shards.faults import Fault, os_reason
from gantrain.data.shards.manifest import ShardEntry
from gantrain.data.shards.members import Label, sample_of

_BLOCK = 512
_PNG_START = 8  # bytes of the signature
_Members = Iterator[tuple[str, int, int]]  # name, offset, length of the content


@dataclass(frozen=True)
class ShardIndex:
    """Where the images of one shard lie, in its order.

    places: int64 of shape (count, 4): offset and length of the PNG, offset and length of the JSON.
        A length of 0 stands for what is not there.
    faults: what is wrong with the shard; empty when its bytes are those that were written.
    """

    places: NDArray[np.int64]
    faults: tuple[Fault, ...]


class ShardReader:
    """An open shard, from which any image can be read."""

    def __init__(self, path: Path, entry: ShardEntry, index: ShardIndex) -> None:
        self.path = path
        self.entry = entry
        self.index = index
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def png(self, row: int) -> bytes:
        """The PNG of the row-th image.

        Raises UserError naming the shard, and the member where there is one, if the image is
        not there or its bytes have changed since it was written.
        """
        offset, length = (int(n) for n in self.index.places[row, :2])
        if not length:
            raise UserError(f"{self.path}: image {row} of {self.entry.count} is missing")
        content = self._read(offset, length)
        if not has_right_checksums(content):
            raise UserError(f"{self.where(row)}: its bytes have changed: a PNG checksum is wrong")
        return content

    def label(self, row: int) -> Label:
        """The label of the row-th image; raises UserError as `png` does."""
        offset, length = (int(n) for n in self.index.places[row, 2:])
        if not length:
            raise UserError(f"{self.path}: the label of image {row} is missing")
        key = self._name(offset).partition(".")[0]
        return sample_of(self.path, key, {"png": b"", "json": self._read(offset, length)}).label

    def where(self, row: int) -> str:
        """The shard and the member, for people."""
        return f"{self.path}: {self._name(int(self.index.places[row, 0]))}"

    def _name(self, offset: int) -> str:
        header = os.pread(self._file, 100, offset - _BLOCK)
        return header.rstrip(b"\0").decode("utf-8", "replace")

    def _read(self, offset: int, length: int) -> bytes:
        try:
            content = os.pread(self._file, length, offset)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({os_reason(error)})") from None
        if len(content) != length:
            raise UserError(f"{self.path}: cut short while it was read")
        return content


def open_shard(path: Path, entry: ShardEntry, indexes: Path | None = None) -> ShardReader:
    """Open a shard for reading in any order.

    indexes: a folder that keeps the indexes of sound shards for other processes and runs; the
        hash of a shard whose index is there has been checked, and is not checked again.

    Raises UserError naming the shard if it cannot be opened; what is wrong inside is in the index.
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
    # An index saves time; a disk without room for it is no fault of the shard.
    with suppress(OSError), replacing(kept) as temporary, temporary.open("wb") as file:
        np.save(file, index.places)


def _load_index(kept: Path, entry: ShardEntry, length: int) -> ShardIndex | None:
    if length != entry.bytes or not kept.exists():
        return None
    try:
        places = np.load(kept, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if places.dtype != np.int64 or places.shape != (entry.count, 4):
        return None
    return ShardIndex(places, ())


def index_shard(path: Path, entry: ShardEntry) -> ShardIndex:
    """Find the images of a shard, and hold the shard against its entry in the manifest.

    Raises OSError if the file cannot be read.
    """
    reasons = []
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        if length != entry.bytes:
            state = "cut short" if length < entry.bytes else "too long"
            reasons.append(f"{state}: {length} bytes, the manifest says {entry.bytes}")
        elif hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
            reasons.append("its bytes have changed: SHA-256 differs from the manifest's")
        try:
            if reasons:
                raise ValueError
            places, found = _places(_walk_headers(path), entry.count)
        except ValueError:
            places, found = _places(_walk_with_care(path), entry.count)
            reasons += _changed_images(file.fileno(), places)
    broken = (places[:, [1, 3]] == 0).any(axis=1)
    places[broken] = 0
    missing = int(broken.sum())
    if not reasons and (missing or found != entry.count):
        reasons.append(f"holds {found - missing} samples; the manifest says {entry.count}")
    faults = (Fault(str(path), "; ".join(reasons), missing),) if reasons else ()
    return ShardIndex(places, faults)


def _changed_images(file: int, places: NDArray[np.int64]) -> list[str]:
    """A word on the images whose checksums are wrong."""
    wrong = [
        os.pread(file, 100, offset - _BLOCK).rstrip(b"\0").decode("utf-8", "replace")
        for offset, length in places[:, :2].tolist()
        if length and not has_right_checksums(os.pread(file, length, offset))
    ]
    return [f"the checksum of {', '.join(wrong[:3])} is wrong"] if wrong else []


def _places(members: _Members, count: int) -> tuple[NDArray[np.int64], int]:
    """Where the first `count` samples lie, and how many there are."""
    places = np.zeros((count, 4), np.int64)
    row, key, seen = -1, None, set[str]()
    for name, offset, length in members:
        stem, _, extension = name.partition(".")
        if stem != key or extension in seen:
            row, key, seen = row + 1, stem, set()
        seen.add(extension)
        column = {"png": 0, "json": 2}.get(extension)
        if column is not None and row < count:
            places[row, column : column + 2] = offset, length
    return places, row + 1


def _walk_headers(path: Path) -> _Members:
    """The members of a plain tar; raises ValueError at whatever is not plain."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, end = 0, len(data)
        while at + _BLOCK <= end:
            header = data[at : at + _BLOCK]
            if not header[0]:
                return
            if header[156:157] not in (b"0", b"\0") or header[345]:  # links, long names, folders
                raise ValueError
            length = int(header[124:136].rstrip(b" \0"), 8)
            start = at + _BLOCK
            at = start + -(-length // _BLOCK) * _BLOCK
            if length < 0 or at > end:
                raise ValueError
            yield header[:100].rstrip(b"\0").decode(), start, length


def _walk_with_care(path: Path) -> _Members:
    """The members of a tar up to where it breaks."""
    end = path.stat().st_size
    # Extended headers hold numbers, which may be none.
    with suppress(tarfile.TarError, ValueError, OverflowError), tarfile.open(path, "r:") as tar:
        for member in tar:
            # The holes of a sparse file can claim any length.
            whole = member.isreg() and not member.issparse() and member.size > 0
            if whole and member.offset_data + member.size <= end:
                yield member.name, member.offset_data, member.size


def has_right_checksums(png: bytes) -> bool:
    """Whether every chunk of a PNG file has the CRC-32 that it was written with.

    Pillow passes over the checksums of the pixels' chunks.
    """
    at, end, view = _PNG_START, len(png), memoryview(png)
    while at + 12 <= end:
        after = at + 8 + int.from_bytes(view[at : at + 4], "big")
        if after + 4 > end:
            return False
        if zlib.crc32(view[at + 4 : after]) != int.from_bytes(view[after : after + 4], "big"):
            return False
        if png[at + 4 : at + 8] == b"IEND":
            return True
        at = after + 4
    return False
