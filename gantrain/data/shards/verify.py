"""Full verification of a set of shards."""

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gantrain.common.errors import UserError, os_reason
from gantrain.common.pools import map_in_order, usable_cores
from gantrain.common.text import counted
from gantrain.data.shards.duplicates import Duplicates, image_digest
from gantrain.data.shards.manifest import (
    Manifest,
    ShardEntry,
    find_file_problems,
    load_manifest,
)
from gantrain.data.shards.reader import iterate_groups, parse_sample
from gantrain.data.shards.samples import SPLITS, Label, decode_image
from gantrain.data.shards.store import open_in_folder
from gantrain.data.shards.tally import Tally


@dataclass(frozen=True)
class VerifyReport:
    """The result of reading a complete set.

    images: number of images that decode.
    duplicates: the equal ones among them.
    problems: one sentence each, naming the shard; empty for a valid set.
    """

    folder: Path
    manifest: Manifest
    images: int
    duplicates: Duplicates
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the set is valid."""
        return not self.problems


@dataclass(frozen=True)
class _ShardResult:
    """labels: of the readable samples, with the digest of each image that decodes."""

    images: int
    labels: tuple[tuple[str, Label, bytes | None], ...]
    problems: tuple[str, ...]


def verify_shards(
    folder: Path,
    *,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Read every byte of a set: check lengths, hashes, counts, keys and labels, decode each image.

    workers: number of processes; None uses all available cores.
    on_progress: called in this process after each shard with (images done, total images).

    Raises UserError if there is no set at `folder` or its manifest is invalid. Problems in the
    shards are in the report.
    """
    manifest = load_manifest(folder)
    file_problems = find_file_problems(folder, manifest)
    problems = list(file_problems.values())
    tally = Tally()
    images = done = 0
    # A missing or truncated shard has been reported; reading it would only report it again.
    readable = [entry for entry in manifest.shards if entry.name not in file_problems]
    workers = min(usable_cores() if workers is None else workers, max(1, len(readable)))
    task = partial(_verify_shard, folder, manifest)
    results = map_in_order(task, readable, workers=workers)
    for entry, result in zip(readable, results, strict=True):
        problems.extend(result.problems)
        images += result.images
        for key, label, digest in result.labels:
            try:
                tally.add(key, label)
                if digest is not None:
                    tally.compare(key, label, digest)
            except UserError as error:
                problems.append(f"{folder / entry.name}: {str(error).rstrip('.')}")
        done += entry.count
        if on_progress is not None:
            on_progress(done, manifest.count)
    if not problems:  # otherwise wrong totals follow from a problem already reported
        problems.extend(_total_problems(folder, manifest, tally))
    return VerifyReport(folder, manifest, images, tally.duplicates, tuple(problems))


def _verify_shard(folder: Path, manifest: Manifest, entry: ShardEntry) -> _ShardResult:
    return (_verify_indexed if manifest.indexed else _verify_own)(folder, manifest, entry)


def _verify_indexed(folder: Path, manifest: Manifest, entry: ShardEntry) -> _ShardResult:
    path = folder / entry.name
    try:
        reader = open_in_folder(folder, entry, thorough=True)
    except UserError as error:
        return _ShardResult(0, (), (_with_path(path, error),))
    problems = [str(fault) for fault in reader.faults]
    labels: list[tuple[str, Label, bytes | None]] = []
    images = 0
    with closing(reader):
        for row in filter(reader.has_image, range(entry.count)):
            digest = None
            try:
                digest = image_digest(reader.read_image(row, manifest.target).tobytes())
                images += 1
            except UserError as error:
                problems.append(_with_path(path, error))
            # Other tools' keys need not be unique.
            key = f"{reader.key(row)} ({entry.name}, image {row})"
            labels.append((key, reader.label(row), digest))
    return _ShardResult(images, tuple(labels), tuple(problems))


def _verify_own(folder: Path, manifest: Manifest, entry: ShardEntry) -> _ShardResult:
    path = folder / entry.name
    images = 0
    labels: list[tuple[str, Label, bytes | None]] = []
    problems: list[str] = []
    count = 0
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != entry.sha256:
            problems.append(f"{path}: its bytes have changed: SHA-256 differs from the manifest's")
        for key, group in iterate_groups(path):
            count += 1
            try:
                sample = parse_sample(path, key, group)
            except UserError as error:
                problems.append(_with_path(path, error))
                continue
            digest = None
            try:
                decode_image(
                    sample.image, manifest.size, manifest.channels, where=f"{path}: {key}.png"
                )
                digest = image_digest(sample.image)
                images += 1
            except UserError as error:
                problems.append(_with_path(path, error))
            labels.append((key, sample.label, digest))
        if count != entry.count:
            problems.append(
                f"{path}: contains {counted(count, 'sample')}; the manifest lists {entry.count}"
            )
    except UserError as error:
        problems.append(_with_path(path, error))
    except OSError as error:
        problems.append(f"{path}: cannot be read ({os_reason(error)})")
    return _ShardResult(images, tuple(labels), tuple(problems))


def _with_path(path: Path, error: UserError) -> str:
    sentence = str(error).rstrip(".")
    return sentence if sentence.startswith(str(path)) else f"{path}: {sentence}"


def _total_problems(folder: Path, manifest: Manifest, tally: Tally) -> list[str]:
    problems = []
    for split in SPLITS:
        if tally.splits[split] != manifest.splits[split]:
            problems.append(
                f"{folder}: {counted(tally.splits[split], 'image')} for {split}; "
                f"the manifest lists {manifest.splits[split]}"
            )
    distinct = tally.duplicates.distinct
    if manifest.distinct not in (None, distinct):
        problems.append(
            f"{folder}: {distinct} distinct images; the manifest lists {manifest.distinct}"
        )
    classes = tally.classes()
    for key in sorted(classes.keys() | manifest.classes.keys()):
        listed = manifest.classes.get(key)
        if classes.get(key) != listed:
            problems.append(
                f"{folder}: {counted(tally.class_counts[key], 'image')} of class {key!r}; "
                "the manifest lists "
                f"{f'{listed.count} of {listed.name!r}' if listed else 'none'}"
            )
    return problems
