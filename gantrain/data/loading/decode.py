"""Decoding of shards' images to uint8, in any process. Does not import torch."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError, os_reason
from gantrain.data.images.convert import Conversion
from gantrain.data.loading.image_table import BROKEN_IMAGE, ImageInfo
from gantrain.data.shards.faults import Fault, ScratchError
from gantrain.data.shards.image_reader import ImageReader
from gantrain.data.shards.manifest import ShardEntry
from gantrain.data.shards.store import ShardStore

_WRITE_BYTES = 16_000_000  # of images written at once


@dataclass(frozen=True)
class Section:
    """Consecutive images of one shard.

    first: index of the first image in the shard.
    count: number of images.
    row: index of the first image in the set.
    """

    entry: ShardEntry
    first: int
    count: int
    row: int


@dataclass(frozen=True)
class SectionResult:
    """An ImageInfo for each image of a section, and the faults found in it."""

    infos: list[ImageInfo]
    faults: list[Fault]


def decode_section(
    store: ShardStore, conversion: Conversion, target: Path, section: Section
) -> SectionResult:
    """Decode a section into its rows of `target`, a file of uint8 (N, channels, size, size).

    Raises ScratchError if the target cannot be written; all other faults are returned.
    """
    try:
        reader = store.open(section.entry)
    except ScratchError:
        raise
    except UserError as error:
        return _unreadable(section, error)
    channels, size = conversion.channels, conversion.size
    image_bytes = channels * size**2
    infos: list[ImageInfo] = []
    faults: list[Fault] = []
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
        try:
            step = max(_WRITE_BYTES // image_bytes, 1)
            for start in range(0, section.count, step):
                count = min(step, section.count - start)
                pixels = np.zeros((count, channels, size, size), np.uint8)
                for i in range(count):
                    index = section.first + start + i
                    info = _decode_image_and_label(reader, index, conversion, pixels[i], faults)
                    infos.append(info)
                _write_all(descriptor, pixels, (section.row + start) * image_bytes)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise disk_full_error(target.parent, error, 0) from None
    finally:
        reader.close()
    if section.first == 0:
        # After the faults of single images, whose messages are more specific.
        faults += reader.faults
    return SectionResult(infos, faults)


def _decode_image_and_label(
    reader: ImageReader,
    index: int,
    conversion: Conversion,
    out: NDArray[np.uint8],
    faults: list[Fault],
) -> ImageInfo:
    """Decode one image into `out`, uint8 (C, S, S), and read its label.

    Append its fault to `faults`, unless it is included in a fault of the shard.
    """
    if not reader.has_image(index):
        return BROKEN_IMAGE
    try:
        out[...] = reader.read_image(index, conversion)
        return ImageInfo.from_label(reader.label(index))
    except UserError as error:
        out[...] = 0
        faults.append(image_fault(reader, index, error))
        return BROKEN_IMAGE


def image_fault(reader: ImageReader, index: int, error: UserError) -> Fault:
    """Return the fault of one image."""
    where = reader.where(index)
    return Fault(where, _without_full_stop(error).removeprefix(f"{where}: "), 1)


def shard_fault(entry: ShardEntry, error: UserError) -> Fault:
    """Return the fault of a shard that cannot be opened."""
    where, _, reason = _without_full_stop(error).partition(": ")
    return Fault(where, reason, entry.count)


def scan_shard(store: ShardStore, entry: ShardEntry) -> SectionResult:
    """Read the labels of a shard without decoding its images.

    Raises ScratchError if the scratch cannot be written; all other faults are returned.
    """
    try:
        reader = store.open(entry)
    except ScratchError:
        raise
    except UserError as error:
        return _unreadable(Section(entry, 0, entry.count, 0), error)
    infos: list[ImageInfo] = []
    faults: list[Fault] = []
    for index in range(entry.count):
        info = BROKEN_IMAGE
        if reader.has_image(index):
            try:
                info = ImageInfo.from_label(reader.label(index))
            except UserError as error:
                faults.append(image_fault(reader, index, error))
        infos.append(info)
    reader.close()
    return SectionResult(infos, [*faults, *reader.faults])


def disk_full_error(folder: Path, error: OSError, needed: int) -> ScratchError:
    """Return the error for a disk that cannot store the decoded images.

    needed: their size in bytes; 0 leaves it out of the message.
    """
    size = f" ({needed / 1e6:,.0f} MB)" if needed else ""
    return ScratchError(
        f"{folder}: cannot write the decoded images{size}: {os_reason(error)}. Free some space, "
        "choose another data.cache_dir, or set data.mode=stream."
    )


def _unreadable(section: Section, error: UserError) -> SectionResult:
    faults = [shard_fault(section.entry, error)] if section.first == 0 else []
    return SectionResult([BROKEN_IMAGE] * section.count, faults)


def _without_full_stop(error: UserError) -> str:
    return str(error).rstrip(".")


def _write_all(descriptor: int, pixels: NDArray[np.uint8], offset: int) -> None:
    content = memoryview(pixels.data).cast("B")
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written
