"""NumPy's files, `.npy` and `.npz`; objects, which are pickles, are never loaded."""

import io
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from gantrain.common.errors import UserError, os_reason
from gantrain.data.importing.archives import check_entry, open_zip, read_entry, stored_offset
from gantrain.data.importing.sources import MAX_IN_MEMORY

MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1 << 17  # bytes


@dataclass(frozen=True)
class NamedArray:
    """An array in a file.

    name: of the array: the stem of a `.npy` file, or the name in a `.npz` file.
    values: mapped where the file is not compressed.
    """

    file: Path
    name: str
    values: NDArray[Any]

    def describe(self) -> str:
        """Return `x_train uint8 (60000, 28, 28)`."""
        return f"{self.name} {self.values.dtype.name} {self.values.shape}"


def read_arrays(file: Path) -> Iterator[NamedArray]:
    """Yield the arrays of a `.npy` or `.npz` file.

    Raises UserError if the file is damaged, contains objects, or would take too much memory.
    """
    try:
        with file.open("rb") as opened:
            if opened.read(len(MAGIC)) == MAGIC:
                yield NamedArray(file, file.stem, _map(file, str(file), 0, file.stat().st_size))
                return
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({os_reason(error)}).") from None
    with open_zip(file) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".npy"):
                name = entry.filename.removesuffix(".npy")
                yield NamedArray(file, name, _read_member(file, archive, entry))


def _read_member(file: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    where = f"{file}: {entry.filename}"
    try:
        check_entry(entry, entry.file_size)
        offset = stored_offset(file, entry)
        if offset is not None:
            return _map(file, where, offset, entry.file_size)
        if entry.file_size > MAX_IN_MEMORY:
            raise UserError(
                f"expands to {entry.file_size / 1e9:.1f} GB, too much to decompress in memory; "
                "save it with np.savez in place of np.savez_compressed, then it is mapped"
            )
        content = read_entry(archive, entry, MAX_IN_MEMORY)
    except UserError as error:
        reason = str(error).removeprefix(f"{where}: ")
        raise UserError(f"{where}: {reason.rstrip('.')}.") from None
    header = io.BytesIO(content[:_MAX_HEADER])
    dtype, shape, fortran = _read_header(where, header, len(content))
    count = math.prod(shape)
    values = np.frombuffer(content, dtype, count, header.tell()) if count else np.empty(0, dtype)
    return values.reshape(shape, order="F" if fortran else "C")


def _map(file: Path, where: str, start: int, length: int) -> NDArray[Any]:
    with file.open("rb") as opened:
        opened.seek(start)
        dtype, shape, fortran = _read_header(where, opened, length)
        offset = opened.tell()
    if not math.prod(shape) or not dtype.itemsize:
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, "r", offset, shape, "F" if fortran else "C")


def _read_header(
    where: str, file: IO[bytes], length: int
) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Read an array's header at the position of the file.

    length: of header and values, in bytes.
    """
    start = file.tell()
    try:
        version = npy_format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = npy_format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = npy_format.read_array_header_2_0(file)
        else:
            raise ValueError(f"version {version}")
        expected = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0:
            raise ValueError(f"shape {shape}")
    except Exception as error:  # NumPy evaluates the header, with many types of errors
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UserError(f"{where}: not NumPy's format, or damaged ({reason}).") from None
    if dtype.hasobject:
        raise UserError(
            f"{where}: contains Python objects (a pickle), which are never loaded; save arrays of "
            "uint8, as in np.savez('images.npz', images=images, labels=labels)."
        )
    found = length - (file.tell() - start)
    if found < expected:
        raise UserError(
            f"{where}: cut off: its header states the shape {shape} of {dtype.name}, which is "
            f"{expected:,} bytes, but {max(found, 0):,} follow it."
        )
    return dtype, shape, fortran
