"""The samples of a webdataset tar by another tool: their images, and what may be their labels.

A sample is a run of members with the same key: the name up to the first dot of its last part, as
webdataset has it. The rest is the member's extension.
"""

import lzma
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gantrain.common.errors import UserError, os_reason
from gantrain.common.text import printable
from gantrain.data.importing.tar_images import choose_image, is_image
from gantrain.data.importing.tar_labels import (
    MAX_LABEL_BYTES,
    Stated,
    fields_of_json,
    is_class_member,
    member_field,
)
from gantrain.data.shards.reader import check_trailer
from gantrain.data.shards.tar_headers import split_member_name

_COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}
_MAX_IMAGE_BYTES = 512 << 20
_MAX_HEADER_BYTES = 1 << 20  # of long names and pax records, which are read into memory
_EXTENDED_HEADERS = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
_DAMAGE = (tarfile.TarError, ValueError, OverflowError, EOFError, zlib.error, lzma.LZMAError)


class TarImage(NamedTuple):
    """The image of one sample.

    name: of the member, printable.
    offset: of its content in the tar; in a compressed tar, in what it is decompressed to.
    length: in bytes.
    stated: what the sample states; see `Stated`.
    """

    name: str
    offset: int
    length: int
    stated: Stated


@dataclass
class TarScan:
    """What a tar contains.

    compression: "gzip" and the like; "" for none.
    without_image: number of samples without one.
    chosen, aside: number of images by extension that are the images of their samples, and of
        further ones in the same samples.
    others: number of other members of samples, by extension.
    passed_over: number of members that belong to no sample, by kind.
    repeated: number of images whose key an earlier image of the tar has.
    apart: number of other samples whose key occurs earlier in the tar.
    keys: keys of the samples' JSON, some of them.
    unreadable: reasons, by name of the member.
    damage: why the rest of the tar cannot be read; "" if it can.
    """

    path: Path
    compression: str = ""
    images: list[TarImage] = field(default_factory=list)
    without_image: int = 0
    chosen: Counter[str] = field(default_factory=Counter)
    aside: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    apart: int = 0
    keys: set[str] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)
    damage: str = ""


@dataclass(frozen=True)
class ScanOptions:
    """Which member is a sample's image, and where its class is stated.

    image: extension of the images; None chooses one in each sample (see `choose_image`).
    label: extension of a member, or key of the JSON, with dots for nested ones; None reads all of
        `tar_labels`'s.
    read_labels: whether the classes that samples state are wanted.
    """

    image: str | None = None
    label: str | None = None
    read_labels: bool = True


class _Header(tarfile.TarInfo):
    """A header that claims no more memory than a header needs: the file may be a bomb."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.size > _MAX_HEADER_BYTES and self.type in _EXTENDED_HEADERS:
            raise tarfile.ReadError(f"an extended header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


class NotATarError(Exception):
    """A file that cannot be opened as a tar."""


@dataclass
class _Sample:
    key: str
    members: dict[str, tarfile.TarInfo] = field(default_factory=dict)
    stated: Stated = field(default_factory=dict)


def compression_of(path: Path) -> str:
    """Return how a file is compressed, by its first bytes; "" for not. OSErrors propagate."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), "")


def scan_tar(path: Path, options: ScanOptions) -> TarScan:
    """Read the headers of a tar and the labels in it, but not its images.

    Reads a compressed tar as well. What follows a damage is left out; a file that is no tar is
    damaged from its beginning.

    Raises UserError naming the file if it cannot be read.
    """
    try:
        scan = TarScan(path, compression_of(path))
        with _opened(path, scan.compression) as tar:
            _scan(tar, scan, options)
    except NotATarError as error:
        scan.damage = str(error)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({os_reason(error)}).") from None
    return scan


def read_images(path: Path, offsets: Iterable[int]) -> Iterator[bytes | UserError]:
    """Yield the contents at ascending offsets, as in `TarImage`, in one pass through a tar.

    Yields an error in place of what cannot be read.
    """
    wanted = iter(offsets)
    offset = next(wanted, None)
    reason = "the tar ends before it"
    try:
        with _opened(path, compression_of(path)) as tar:
            for member in _members(tar):
                if offset is not None and member.offset_data == offset:
                    yield _content(tar, member)
                    offset = next(wanted, None)
                if offset is None:
                    return
    except (*_DAMAGE, NotATarError) as error:
        reason = str(error)
    except OSError as error:
        reason = os_reason(error)
    while offset is not None:
        yield UserError(f"cannot be read ({reason})")
        offset = next(wanted, None)


@contextmanager
def _opened(path: Path, compression: str) -> Iterator[tarfile.TarFile]:
    if compression == "Zstandard":
        raise NotATarError("compressed with Zstandard; decompress it first (unzstd)")
    try:
        tar = tarfile.open(  # noqa: SIM115 - closed below
            path,
            "r|*" if compression else "r:",
            tarinfo=_Header,
            encoding="utf-8",
            errors="backslashreplace",
        )
    except _DAMAGE as error:
        raise NotATarError(f"not a tar ({error})") from None
    with tar:
        yield tar


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        tar.members = []  # type: ignore[attr-defined]  # or memory grows with each one
        yield member


def _scan(tar: tarfile.TarFile, scan: TarScan, options: ScanOptions) -> None:
    end = scan.path.stat().st_size
    sample = _Sample("")
    seen: dict[str, bool] = {}  # keys, and whether with an image
    last: tarfile.TarInfo | None = None
    try:
        for member in _members(tar):
            last = member
            parts = split_member_name(printable(member.name))
            kind = _kind(member, parts)
            if parts is None or kind:
                scan.passed_over[kind] += 1
                continue
            if not scan.compression and member.offset_data + member.size > end:
                raise tarfile.ReadError("unexpected end of data")
            key, extension = parts
            if key != sample.key or extension in sample.members:
                _finish(sample, scan, options, seen)
                sample = _Sample(key)
            sample.members[extension] = member
            _read_stated(tar, member, extension, sample, scan, options)
        if not scan.compression:
            check_trailer(scan.path, tar.offset)
    except (*_DAMAGE, OSError) as error:
        name = printable(last.name) if last is not None else "its first member"
        scan.damage = f"cut short or broken at {name} ({error}); what follows is left out"
        if last is not None and tar.fileobj.tell() < last.offset_data + last.size:
            # In a compressed tar, the member that the damage is in has been added already.
            sample.members = {e: m for e, m in sample.members.items() if m is not last}
    _finish(sample, scan, options, seen)


def _kind(member: tarfile.TarInfo, parts: tuple[str, str] | None) -> str:
    """Return why a member is no part of a sample; "" if it is one."""
    if member.isdir():
        return "folders"
    if member.issym() or member.islnk():
        return "links"
    if member.issparse():  # its holes can claim any length
        return "sparse files"
    if not member.isreg():
        return "devices"
    return "" if parts is not None else "files without a key or an extension"


def _read_stated(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    extension: str,
    sample: _Sample,
    scan: TarScan,
    options: ScanOptions,
) -> None:
    """Read the member if it may state the sample's class or split."""
    is_class = is_class_member(extension, options.label)
    if not is_class and extension != "json":
        return
    content = _content(tar, member, MAX_LABEL_BYTES)
    if isinstance(content, UserError):
        scan.unreadable[printable(member.name)] = str(content)
    elif is_class:
        sample.stated[f".{extension}"] = member_field(content)
    else:
        try:
            stated, keys = fields_of_json(content, options.label)
        except UserError as error:
            scan.unreadable[printable(member.name)] = str(error)
        else:
            sample.stated = stated | sample.stated
            scan.keys.update(keys)


def _content(
    tar: tarfile.TarFile, member: tarfile.TarInfo, limit: int = _MAX_IMAGE_BYTES
) -> bytes | UserError:
    if member.size > limit:
        return UserError(f"{member.size / 1e6:,.0f} MB are too many for such a file")
    file = tar.extractfile(member)
    assert file is not None  # it is a regular file
    return file.read()


def _finish(sample: _Sample, scan: TarScan, options: ScanOptions, seen: dict[str, bool]) -> None:
    """Add a complete sample to the scan."""
    if not sample.members:
        return
    chosen = choose_image(sample.members, options.image)
    others = [extension for extension in sample.members if extension != chosen]
    scan.aside.update(filter(is_image, others if chosen else ()))
    scan.others.update(others)
    if sample.key in seen:
        both = chosen is not None and seen[sample.key]
        scan.repeated += both
        scan.apart += not both
    seen[sample.key] = seen.get(sample.key, False) or chosen is not None
    if chosen is None:
        scan.without_image += 1
        return
    scan.chosen[chosen] += 1
    member = sample.members[chosen]
    name = printable(member.name)
    if not member.size:
        scan.unreadable[name] = "an empty file"
    elif member.size > _MAX_IMAGE_BYTES:
        scan.unreadable[name] = f"{member.size / 1e6:,.0f} MB are too many for an image"
    else:
        scan.images.append(TarImage(name, member.offset_data, member.size, sample.stated))
