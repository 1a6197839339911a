"""Sets of shards on disk: plain webdataset tars beside one manifest."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gantrain.common.errors import UserError
from gantrain.data.shards.manifest import (
    LARGEST_SIZE,
    MANIFEST_NAME,
    ClassEntry,
    Manifest,
    ShardEntry,
    Tally,
    read_manifest,
)
from gantrain.data.shards.members import (
    Label,
    Sample,
    add_sample,
    check_key,
    check_png_header,
    iterate_members,
)
from gantrain.data.shards.staging import staged_folder, write_errors
from gantrain.data.shards.verify import VerifyReport, verify_shards

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "ClassEntry",
    "Label",
    "Manifest",
    "Sample",
    "ShardEntry",
    "VerifyReport",
    "iterate_shard",
    "read_manifest",
    "verify_shards",
    "write_shards",
]


def write_shards(
    folder: Path,
    samples: Iterable[Sample],
    *,
    size: int,
    channels: int,
    source: str,
    images_per_shard: int = 1000,
    overwrite: bool = False,
    attach: Callable[[], Mapping[str, str]] | None = None,
) -> Manifest:
    """Write samples, in their order, as a set of shards; at `folder` is a whole set or nothing.

    size: width and height of each image, in pixels.
    channels: 1 for 8-bit grey, 3 for 8-bit RGB.
    source: where the images came from, for people.
    overwrite: replace an older set, at the very end (see `staged_folder`).
    attach: called when all samples are written; gives the text of further files for the folder,
        by name.

    Equal samples give equal bytes. Memory does not grow with the images, only with their keys.

    Raises UserError if the folder is not free, another process is writing it, the disk is full,
    there are no samples, two have the same key, or one of them cannot be in such a set. What
    `samples` itself raises passes through. In each case nothing is left behind.
    """
    checked_channels = _check_settings(size, channels, images_per_shard)
    tally = Tally()
    entries: list[ShardEntry] = []
    with staged_folder(folder, overwrite=overwrite) as staging:
        shard: _ShardWriter | None = None
        try:
            for sample in samples:
                check_key(sample.key)
                check_png_header(sample, size, channels)
                tally.add(sample)
                with write_errors(folder):
                    if shard is None:
                        shard = _ShardWriter(staging / f"shard-{len(entries):06d}.tar")
                    shard.add(sample)
                    if shard.count == images_per_shard:
                        entries.append(shard.finish())
                        shard = None
            if shard is not None:
                with write_errors(folder):
                    entries.append(shard.finish())
        except BaseException:
            if shard is not None:
                shard.abandon()
            raise
        if not entries:
            raise UserError(f"{folder}: no images to write; expected at least one.")
        manifest = tally.manifest(
            source=source, size=size, channels=checked_channels, shards=entries
        )
        extras = attach() if attach is not None else {}
        with write_errors(folder):
            for name, text in {**extras, MANIFEST_NAME: manifest.to_json()}.items():
                (staging / name).write_text(text, encoding="utf-8")
    return manifest


def iterate_shard(folder: Path, manifest: Manifest, entry: ShardEntry) -> Iterator[Sample]:
    """Yield the samples of one shard, in its order.

    Raises UserError naming the shard, and the member where there is one, if the shard cannot be
    read, is cut short or broken, or does not hold exactly `entry.count` samples. The images are
    not decoded; `decode_image` holds them against `manifest.size` and `manifest.channels`.
    """
    path = folder / entry.name
    count = 0
    for sample in iterate_members(path):
        count += 1
        if count > entry.count:
            break
        yield sample
    if count != entry.count:
        found = f"{count} samples" if count < entry.count else "more samples"
        raise UserError(
            f"{path}: holds {found}; the manifest of {manifest.count} images says "
            f"{entry.count}. Write the set again."
        )


def _check_settings(size: int, channels: int, images_per_shard: int) -> Literal[1, 3]:
    if not 1 <= size <= LARGEST_SIZE:
        raise UserError(f"size is {size}; expected pixels from 1 to {LARGEST_SIZE}.")
    if images_per_shard < 1:
        raise UserError(f"images_per_shard is {images_per_shard}; expected at least 1.")
    if channels == 1:
        return 1
    if channels == 3:
        return 3
    raise UserError(f"channels is {channels}; expected 1 (grey) or 3 (RGB).")


class _HashedFile(io.BufferedWriter):
    """A new file that hashes what is written to it, so that it need not be read again."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "x"), 1 << 20)
        self.digest = hashlib.sha256()

    def write(self, data: "Buffer", /) -> int:
        self.digest.update(data)
        return super().write(data)


class _ShardWriter:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file = _HashedFile(path)
        self._tar = tarfile.open(  # noqa: SIM115 - it lives as long as this object
            fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT
        )

    def add(self, sample: Sample) -> None:
        add_sample(self._tar, sample)
        self.count += 1

    def finish(self) -> ShardEntry:
        self._tar.close()
        length = self._file.tell()
        self._file.close()
        return ShardEntry(
            name=self.path.name,
            count=self.count,
            bytes=length,
            sha256=self._file.digest.hexdigest(),
        )

    def abandon(self) -> None:
        with suppress(OSError):  # a full disk refuses the last bytes again
            self._file.close()
