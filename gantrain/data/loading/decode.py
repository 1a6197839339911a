"""Decodes images of shards to uint8, in whatever process that happens. Needs no torch."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError
from gantrain.data.loading.rows import NOTHING, RowFacts
from gantrain.data.shards.faults import Fault, ScratchError, os_reason
from gantrain.data.shards.manifest import ShardEntry
from gantrain.data.shards.members import decode_image
from gantrain.data.shards.store import ShardStore
from gantrain.data.shards.tar_index import ShardReader

_HERE = "<here>"
_PIECE = 16_000_000  # bytes of images written at once


@dataclass(frozen=True)
class Section:
    """Consecutive images of one shard: `count` from its image `first` on, which is row `row`
    of the set."""

    entry: ShardEntry
    first: int
    count: int
    row: int


@dataclass(frozen=True)
class SectionFound:
    """What a section holds: a fact for each image, and what is broken."""

    facts: list[RowFacts]
    faults: list[Fault]


def decode_section(
    store: ShardStore, size: int, channels: int, target: Path, section: Section
) -> SectionFound:
    """Decode a section into its rows of `target`, a file of uint8 (N, channels, size, size).

    Raises UserError only if the target cannot be written.
    """
    try:
        reader = store.open(section.entry)
    except ScratchError:
        raise
    except UserError as error:
        return _nothing_of(section, error)
    image_bytes = channels * size**2
    facts: list[RowFacts] = []
    faults: list[Fault] = []
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
        try:
            step = max(_PIECE // image_bytes, 1)
            for start in range(0, section.count, step):
                count = min(step, section.count - start)
                pixels = np.zeros((count, channels, size, size), np.uint8)
                for i in range(count):
                    row = section.first + start + i
                    facts.append(decode_row(reader, row, pixels[i], faults))
                _write_all(handle, pixels, (section.row + start) * image_bytes)
        finally:
            os.close(handle)
    except OSError as error:
        raise full_disk(target.parent, error, 0) from None
    finally:
        reader.close()
    if section.first == 0:
        # After the images' own faults, which say more.
        faults += reader.index.faults
    return SectionFound(facts, faults)


def decode_row(
    reader: ShardReader, row: int, into: NDArray[np.uint8], faults: list[Fault]
) -> RowFacts:
    """Decode one image of a shard into `into`, uint8 (C, S, S), and read its label.

    What is broken is added to `faults`, unless the shard's own faults count it.
    """
    if not reader.index.places[row, 1]:
        return NOTHING
    try:
        decode_into(reader, row, into)
        return RowFacts.of(reader.label(row))
    except UserError as error:
        into[...] = 0
        faults.append(image_fault(reader, row, error))
        return NOTHING


def decode_into(reader: ShardReader, row: int, into: NDArray[np.uint8]) -> None:
    """Decode one image into `into`, uint8 (C, S, S).

    Raises UserError naming shard and member if it is broken.
    """
    channels, size, _ = into.shape
    try:
        into[...] = decode_image(reader.png(row), size, channels, where=_HERE)
    except UserError as error:  # the member's name is read only where it is needed
        raise UserError(str(error).replace(_HERE, reader.where(row))) from None


def image_fault(reader: ShardReader, row: int, error: UserError) -> Fault:
    """The fault of one image."""
    where = reader.where(row)
    return Fault(where, _sentence(error).removeprefix(f"{where}: "), 1)


def shard_fault(entry: ShardEntry, error: UserError) -> Fault:
    """The fault of a shard that cannot be opened."""
    where, _, reason = _sentence(error).partition(": ")
    return Fault(where, reason, entry.count)


def facts_of_shard(store: ShardStore, entry: ShardEntry) -> SectionFound:
    """The labels of a shard, without a look at its images."""
    section = Section(entry, 0, entry.count, 0)
    try:
        reader = store.open(entry)
    except ScratchError:
        raise
    except UserError as error:
        return _nothing_of(section, error)
    facts: list[RowFacts] = []
    faults: list[Fault] = []
    for row in range(entry.count):
        fact = NOTHING
        if reader.index.places[row, 1]:
            try:
                fact = RowFacts.of(reader.label(row))
            except UserError as error:
                faults.append(image_fault(reader, row, error))
        facts.append(fact)
    reader.close()
    return SectionFound(facts, [*faults, *reader.index.faults])


def full_disk(folder: Path, error: OSError, needed: int) -> ScratchError:
    """The error of a disk that does not take the decoded images."""
    size = f"{needed / 1e6:,.0f} MB " if needed else ""
    return ScratchError(
        f"{folder}: the decoded images {size}cannot be written ({os_reason(error)}). Free some "
        "space, choose another data.cache_dir, or set data.mode=stream."
    )


def _nothing_of(section: Section, error: UserError) -> SectionFound:
    faults = [shard_fault(section.entry, error)] if section.first == 0 else []
    return SectionFound([NOTHING] * section.count, faults)


def _sentence(error: UserError) -> str:
    return str(error).rstrip(".")


def _write_all(handle: int, pixels: NDArray[np.uint8], offset: int) -> None:
    content = memoryview(pixels.data).cast("B")
    while content:
        written = os.pwrite(handle, content, offset)
        content, offset = content[written:], offset + written
