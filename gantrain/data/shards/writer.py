"""Writing a set of shards: plain webdataset tars and a manifest."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gantrain.common.errors import UserError
from gantrain.data.shards.duplicates import Duplicates, image_digest
from gantrain.data.shards.manifest import MANIFEST_NAME, MAX_SIZE, Manifest, ShardEntry
from gantrain.data.shards.samples import (
    Sample,
    check_key,
    check_label,
    check_png_header,
)
from gantrain.data.shards.staging import staged_folder, write_errors
from gantrain.data.shards.tally import Tally

if TYPE_CHECKING:
    from typing_extensions import Buffer


def write_shards(
    folder: Path,
    samples: Iterable[Sample],
    *,
    size: int,
    channels: int,
    source: str,
    images_per_shard: int = 1000,
    overwrite: bool = False,
    drop_duplicates: bool = False,
    duplicates: Duplicates | None = None,
    extra_files: Callable[[], Mapping[str, str]] | None = None,
) -> Manifest:
    """Write samples, in order, as a set of shards; `folder` gets a complete set or nothing.

    size: width and height of each image, in pixels.
    channels: 1 for 8-bit grey, 3 for 8-bit RGB.
    source: where the images came from, for display.
    overwrite: replace an existing set, at the very end (see `staged_folder`).
    drop_duplicates: leave out each image that equals an earlier one, whatever its class and split.
    duplicates: counts the equal images, for the caller; must be new.
    extra_files: called after the last sample; returns the text of further files for the folder,
        by name.

    Equal samples give equal bytes. Memory grows with the number of keys, not with the images.

    Raises UserError if the folder is not empty, another process is writing it, the disk is full,
    there are no samples, two have the same key, or one is not valid for the set. Errors raised by
    `samples` itself propagate. In each case no files are left behind.
    """
    valid_channels = _check_settings(size, channels, images_per_shard)
    tally = Tally(duplicates)
    entries: list[ShardEntry] = []
    with staged_folder(folder, overwrite=overwrite) as staging:
        shard: _ShardWriter | None = None
        try:
            for sample in samples:
                check_key(sample.key)
                check_png_header(sample, size, channels)
                equal = tally.compare(sample.key, sample.label, image_digest(sample.image))
                if equal and drop_duplicates:
                    continue
                tally.add(sample.key, sample.label)
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
        manifest = tally.manifest(source=source, size=size, channels=valid_channels, shards=entries)
        extras = extra_files() if extra_files is not None else {}
        with write_errors(folder):
            for name, text in {**extras, MANIFEST_NAME: manifest.to_json()}.items():
                (staging / name).write_text(text, encoding="utf-8")
    return manifest


def add_sample(tar: tarfile.TarFile, sample: Sample) -> None:
    """Append `KEY.png` and `KEY.json` to an open tar; equal samples give equal bytes.

    Raises UserError if the label is not valid, or not valid JSON.
    """
    check_label(sample.label, f"Sample {sample.key!r}")
    try:
        label = json.dumps(sample.label, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise UserError(
            f"The label of sample {sample.key!r} cannot be written as JSON ({error}); "
            "expected text and finite numbers."
        ) from None
    for extension, content in (("png", sample.image), ("json", label)):
        member = tarfile.TarInfo(f"{sample.key}.{extension}")  # mtime, uid and gid default to 0
        member.mode = 0o644
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def _check_settings(size: int, channels: int, images_per_shard: int) -> Literal[1, 3]:
    if not 1 <= size <= MAX_SIZE:
        raise UserError(f"size is {size}; expected 1 to {MAX_SIZE} pixels.")
    if images_per_shard < 1:
        raise UserError(f"images_per_shard is {images_per_shard}; expected at least 1.")
    if channels == 1:
        return 1
    if channels == 3:
        return 3
    raise UserError(f"channels is {channels}; expected 1 (grey) or 3 (RGB).")


class _HashedFile(io.BufferedWriter):
    """A new file that hashes its content while it is written, to save a second read."""

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
        self._tar = tarfile.open(  # noqa: SIM115 - `finish` or `abandon` closes it
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
        with suppress(OSError):  # on a full disk, flushing the last bytes fails again
            self._file.close()
