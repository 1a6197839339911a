"""Reads a whole set of shards and lists all that is wrong with it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gantrain.common.errors import UserError
from gantrain.common.pools import map_in_order, usable_cores
from gantrain.data.shards.manifest import (
    Manifest,
    ShardEntry,
    Tally,
    find_file_problems,
    load_manifest,
)
from gantrain.data.shards.members import (
    SPLITS,
    Label,
    Sample,
    check_key,
    decode_image,
    iterate_groups,
    sample_of,
)


@dataclass(frozen=True)
class VerifyReport:
    """What a whole reading of a set found.

    images: images that could be decoded.
    problems: one sentence each, naming the shard; empty for a sound set.
    """

    folder: Path
    manifest: Manifest
    images: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True)
class _ShardFindings:
    images: int
    labels: tuple[tuple[str, Label], ...]
    problems: tuple[str, ...]


def verify_shards(
    folder: Path,
    *,
    workers: int | None = None,
    on_shard: Callable[[int], None] | None = None,
) -> VerifyReport:
    """Read every byte of a set: lengths, hashes, counts, keys, labels, and decode every image.

    workers: processes; None takes all usable cores.
    on_shard: called in this process after each shard with the number of its images.

    Raises UserError if there is no set at `folder` or its manifest is no valid one; all that is
    wrong with the shards is in the report.
    """
    manifest = load_manifest(folder)
    file_problems = find_file_problems(folder, manifest)
    problems = list(file_problems.values())
    tally = Tally()
    images = 0
    # A missing or shortened shard has been named; reading it would only name it again.
    sound = [entry for entry in manifest.shards if entry.name not in file_problems]
    workers = min(usable_cores() if workers is None else workers, max(1, len(sound)))
    task = partial(_verify_shard, folder, manifest)
    for entry, found in zip(sound, map_in_order(task, sound, workers=workers), strict=True):
        problems.extend(found.problems)
        images += found.images
        for key, label in found.labels:
            try:
                tally.add(Sample(key, b"", label))
            except UserError as error:
                problems.append(f"{folder / entry.name}: {str(error).rstrip('.')}")
        if on_shard is not None:
            on_shard(entry.count)
    if not problems:  # else the totals are off for a reason that has been named
        problems.extend(_total_problems(folder, manifest, tally))
    return VerifyReport(folder, manifest, images, tuple(problems))


def _verify_shard(folder: Path, manifest: Manifest, entry: ShardEntry) -> _ShardFindings:
    path = folder / entry.name
    images = 0
    labels: list[tuple[str, Label]] = []
    problems: list[str] = []
    count = 0
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != entry.sha256:
            problems.append(f"{path}: its bytes have changed: SHA-256 differs from the manifest's")
        for key, group in iterate_groups(path):
            count += 1
            try:
                check_key(key)
                sample = sample_of(path, key, group)
                labels.append((key, sample.label))
                decode_image(
                    sample.image, manifest.size, manifest.channels, where=f"{path}: {key}.png"
                )
                images += 1
            except UserError as error:
                problems.append(_with_path(path, error))
        if count != entry.count:
            problems.append(f"{path}: holds {count} samples; the manifest says {entry.count}")
    except UserError as error:
        problems.append(_with_path(path, error))
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror or error})")
    return _ShardFindings(images, tuple(labels), tuple(problems))


def _with_path(path: Path, error: UserError) -> str:
    sentence = str(error).rstrip(".")
    return sentence if sentence.startswith(str(path)) else f"{path}: {sentence}"


def _total_problems(folder: Path, manifest: Manifest, tally: Tally) -> list[str]:
    problems = []
    for split in SPLITS:
        if tally.splits[split] != manifest.splits[split]:
            problems.append(
                f"{folder}: {tally.splits[split]} images for {split}; "
                f"the manifest says {manifest.splits[split]}"
            )
    found = tally.classes()
    for part in sorted(found.keys() | manifest.classes.keys()):
        if found.get(part) != manifest.classes.get(part):
            count = tally.class_counts[part]
            listed = manifest.classes.get(part)
            problems.append(
                f"{folder}: {count} images of part {part!r}; the manifest says "
                f"{f'{listed.count} of {listed.name!r}' if listed else 'none'}"
            )
    return problems
