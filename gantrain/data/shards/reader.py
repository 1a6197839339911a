"""Sequential reading of a shard: a tar of `KEY.png` and `KEY.json` members."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

from gantrain.common.errors import UserError, os_reason
from gantrain.common.text import counted, printable
from gantrain.data.shards.manifest import Manifest, ShardEntry
from gantrain.data.shards.samples import Sample, check_label
from gantrain.data.shards.tar_headers import BLOCK, split_member_name


def iterate_shard(folder: Path, manifest: Manifest, entry: ShardEntry) -> Iterator[Sample]:
    """Yield the samples of one shard of a set, in order, without decoding the images.

    Raises UserError naming the shard, and the member where there is one, if the shard cannot be
    read, is truncated or damaged, or does not contain exactly `entry.count` samples.
    """
    path = folder / entry.name
    count = 0
    for sample in iterate_samples(path):
        count += 1
        if count > entry.count:
            break
        yield sample
    if count != entry.count:
        actual = counted(count, "sample") if count < entry.count else "more samples"
        raise UserError(
            f"{path}: contains {actual}; the manifest of {manifest.count} images lists "
            f"{entry.count}. Write the set again."
        )


def iterate_samples(shard: Path) -> Iterator[Sample]:
    """Yield the samples of a tar in order; a sample's PNG and JSON may come in either order.

    Raises UserError as `iterate_groups` and `parse_sample` do.
    """
    for key, group in iterate_groups(shard):
        yield parse_sample(shard, key, group)


def iterate_groups(shard: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (key, {extension: content}) for each run of members with the same key, in order.

    Keeps one group in memory at a time and writes nothing to disk. Keys are printable; members
    that belong to no sample (see `split_member_name`) are skipped.

    Raises UserError naming the shard if it cannot be read, is not a tar, or is truncated.
    """
    key, group, last = "", dict[str, bytes](), "its first member"
    end = 0
    try:
        with tarfile.open(shard, "r|", encoding="utf-8", errors="backslashreplace") as tar:
            for member in tar:
                last = printable(member.name)
                end = tar.offset  # of the next header
                if member.issparse():  # its holes can claim any length, and would fill memory
                    raise tarfile.ReadError("a sparse file")
                parts = split_member_name(last)
                content = tar.extractfile(member) if parts and member.isreg() else None
                if parts is None or content is None:  # not of a sample, a folder, or a link
                    continue
                stem, extension = parts
                if group and (stem != key or extension in group):
                    yield key, group
                    group = {}
                key = stem
                group[extension] = content.read()
        check_trailer(shard, end)
    except (tarfile.TarError, ValueError, OverflowError) as error:  # from numbers in pax headers
        raise UserError(
            f"{shard}: cut short or broken at {last} ({error}). Write the set again."
        ) from None
    except OSError as error:
        raise UserError(f"{shard}: cannot be read ({os_reason(error)}).") from None
    if group:
        yield key, group


def check_trailer(shard: Path, end: int) -> None:
    """Raise tarfile.ReadError unless the end-of-archive mark, and nothing else, follows `end`."""
    # tarfile silently treats a broken or missing header as the end of the archive.
    with shard.open("rb") as file:
        file.seek(end)
        trailer = 0
        while chunk := file.read(1 << 20):
            if chunk.count(0) != len(chunk):
                raise tarfile.ReadError("broken header of the next member")
            trailer += len(chunk)
    if trailer < 2 * BLOCK:
        raise tarfile.ReadError("no end-of-archive mark")


def parse_sample(shard: Path, key: str, group: dict[str, bytes]) -> Sample:
    """Return the sample of a group of members; members other than PNG and JSON are ignored.

    Raises UserError naming the shard and the member that is missing or invalid.
    """
    for extension in ("png", "json"):
        if extension not in group:
            present = ", ".join(sorted(f"{key}.{name}" for name in group))
            raise UserError(f"{shard}: {key}.{extension} is missing; the sample has {present}.")
    try:
        label = json.loads(group["json"])
    except (ValueError, RecursionError) as error:
        raise UserError(f"{shard}: {key}.json is not JSON ({error}).") from None
    if not isinstance(label, dict):
        raise UserError(f"{shard}: {key}.json is not a JSON object; expected {{name: value}}.")
    check_label(label, f"{shard}: {key}.json")
    return Sample(key, group["png"], label)
