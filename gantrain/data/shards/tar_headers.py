"""The members of a tar and their names, from its headers: v7, ustar, pax and GNU."""

import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gantrain.common.text import printable

BLOCK = 512  # bytes; a tar consists of such blocks

_END = bytes(BLOCK)
_REGULAR = (b"0", b"\0", b"7")
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders, pipes
_NOT_PLAIN = (b"S", b"M", b"N")  # sparse files, parts of volumes, and old tables of long names
# As in webdataset: the extension starts at the first dot of the file's name, which has more
# before it. So hidden files, such as macOS's `._a.png`, belong to no sample.
_SAMPLE_NAME = re.compile(r"(?:\./)*((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL)


class Member(NamedTuple):
    """A file in a tar: its name, and offset and length of its content in bytes."""

    name: str
    offset: int
    length: int


def read_members(path: Path) -> Iterator[Member]:
    """Yield the files in a tar, without its folders and links.

    About ten times faster than `tarfile`, since it checks almost nothing: only for intact tars.

    Raises ValueError at a sparse file or an invalid header, OSError if the file cannot be read.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        position, end = 0, len(data)
        for_all: dict[bytes, bytes] = {}  # records of global pax headers
        records: dict[bytes, bytes] = {}  # what the headers before a member state about it
        while position + BLOCK <= end:
            header = data[position : position + BLOCK]
            if header == _END:
                return
            kind = header[156:157]
            start = position + BLOCK
            length = 0 if kind in _WITHOUT_CONTENT else _number(header[124:136])
            if kind in _REGULAR:
                length = int(records.get(b"size", length))
            position = start + -(-length // BLOCK) * BLOCK
            if length < 0 or position > end or kind in _NOT_PLAIN:
                raise ValueError
            if kind == b"L":
                records[b"path"] = _text(data[start : start + length])
                continue
            if kind in (b"x", b"X"):
                records |= _pax_records(data[start : start + length])
                continue
            if kind == b"g":
                for_all |= _pax_records(data[start : start + length])
                records = for_all | records
                continue
            if kind == b"K":
                continue
            if kind in _REGULAR:
                name = records[b"path"].rstrip(b"/") if b"path" in records else _name(header)
                if kind != b"\0" or header[:100].rstrip(b"\0")[-1:] != b"/":  # a folder of v7
                    yield Member(printable(name.decode("utf-8", "backslashreplace")), start, length)
                else:
                    position = start
            records = dict(for_all)


def split_member_name(name: str) -> tuple[str, str] | None:
    """Return the key and the lower-case extension of a member's name, or None if it has none.

    `./cats/a.seg.png` gives ("cats/a", "seg.png").
    """
    match = _SAMPLE_NAME.fullmatch(name)
    return (match[1], match[2].lower()) if match else None


def _number(field: bytes) -> int:
    if field[0] == 0o200:  # base 256, for numbers that 11 octal digits cannot hold
        return int.from_bytes(field[1:], "big")
    return int(_text(field).strip() or b"0", 8)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _name(header: bytes) -> bytes:
    name, prefix = _text(header[:100]), b""
    if header[257:263] == b"ustar\0":  # GNU tar keeps other things in the prefix
        prefix = _text(header[345:500])
    return prefix + b"/" + name if prefix else name


def _pax_records(content: bytes) -> dict[bytes, bytes]:
    """Return the records `LENGTH KEY=VALUE\\n` of an extended header.

    Raises ValueError for invalid ones, and for those of a sparse file.
    """
    records = {}
    while content.strip(b"\0"):
        digits, _, _ = content.partition(b" ")
        length = int(digits)
        if not len(digits) + 1 < length <= len(content):
            raise ValueError
        key, equals, value = content[len(digits) + 1 : length - 1].partition(b"=")
        if not equals or key.startswith(b"GNU.sparse."):
            raise ValueError
        records[key] = value
        content = content[length:]
    return records
