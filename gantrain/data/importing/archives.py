"""Zip files, read in memory and never extracted; what is wrong with one is a UserError."""

import struct
import zipfile
from pathlib import Path

from gantrain.common.errors import UserError, os_reason

MAGIC = b"PK\x03\x04"  # of an entry; an archive without entries begins otherwise
# Archives of images hardly compress. Beyond both limits a small file would fill days or disks.
_MAX_EXPANSION = 100
_MAX_EXPANDED = 10 << 30  # bytes
_ENCRYPTED = 1  # bit of the flags
_BLOCK = 1 << 20
_HEADER = struct.Struct("<4s22xHH")  # before each entry: signature, lengths of name and extra field


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip file.

    Raises UserError if it is damaged, or if its entries state that they expand to more than 100
    times its size and more than 10 GiB.
    """
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({os_reason(error)}).") from None
    except Exception as error:  # zipfile raises many types of errors on damaged files
        raise UserError(
            f"{path}: not a zip file, damaged or cut off ({error}); download or copy it again."
        ) from None
    expanded = sum(entry.file_size for entry in archive.infolist())
    if expanded > max(_MAX_EXPANDED, _MAX_EXPANSION * path.stat().st_size):
        archive.close()
        raise UserError(
            f"{path}: states that it expands to {expanded / 1e9:.0f} GB, more than "
            f"{_MAX_EXPANSION} times its size: a zip bomb, or damaged."
        )
    return archive


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytearray:
    """Return the content of an entry, which is checked against its CRC.

    Raises UserError with the reason, without a name, if it is damaged, encrypted, compressed in an
    unusual way, or expands to more than `limit` bytes.
    """
    check_entry(entry, limit)
    content = bytearray()
    try:
        with archive.open(entry) as file:
            # In blocks: at once, zipfile expands up to 2 GiB, whatever size the entry states. It
            # returns no more than that size.
            while block := file.read(_BLOCK):
                content += block
    except OSError as error:
        raise UserError(os_reason(error)) from None
    except Exception as error:  # zipfile raises many types of errors on damaged files
        raise UserError(f"damaged ({str(error) or 'cut off'})") from None
    return content


def check_entry(entry: zipfile.ZipInfo, limit: int) -> None:
    """Raise UserError if the archive itself says that `read_entry` cannot read an entry."""
    if entry.flag_bits & _ENCRYPTED:
        raise UserError("encrypted; unpack the archive with its password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError("compressed in an unusual way; unpack the archive")
    if entry.file_size > limit:
        raise UserError(
            f"expands to {entry.file_size / 1e6:,.0f} MB, more than the limit of "
            f"{limit / 1e6:,.0f} MB"
        )


def stored_offset(path: Path, entry: zipfile.ZipInfo) -> int | None:
    """Return where in the file the content of an entry begins, or None if it is compressed.

    Raises UserError with the reason if the file does not contain all of it.
    """
    if entry.compress_type != zipfile.ZIP_STORED:
        return None
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise UserError("damaged (no header)")
        signature, name_length, extra_length = _HEADER.unpack(header)
        offset = entry.header_offset + _HEADER.size + name_length + extra_length
        if signature != MAGIC or offset + entry.file_size > file.seek(0, 2):
            raise UserError("damaged (wrong header, or cut off)")
    return int(offset)
