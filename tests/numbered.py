"""Sets of images whose shade encodes their row in the set."""

import io
import itertools
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from gantrain.common.rng import PositionalRNG
from gantrain.config import DataConfig
from gantrain.data.loading.datasets import ImageDataset
from gantrain.data.loading.opening import open_dataset
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards

CPU = torch.device("cpu")
PER_SHARD = {1: 23, 3: 10, 8: 3}  # number of shards: images per shard, for 23 images


def numbered_samples(count: int, **label: Any) -> Iterator[Sample]:
    """Yield 32x32 images of shades 1, 2, …, none black, alternately of class "a" and "b"."""
    for i in range(count):
        file = io.BytesIO()
        Image.new("L", (32, 32), i + 1).save(file, "PNG")
        class_name = "ab"[i % 2]
        yield Sample(f"n{i:03d}", file.getvalue(), {"part": class_name, "view": i // 2, **label})


def numbered_set(folder: Path, shards: int = 3, count: int = 23) -> Path:
    """Write a set of such images; return its folder."""
    write_shards(
        folder,
        numbered_samples(count),
        size=32,
        channels=1,
        source="numbers",
        images_per_shard=PER_SHARD[shards],
    )
    return folder


def data_config(shards: Path | str, scratch: Path, **changes: Any) -> DataConfig:
    """Return a data config without worker processes and ."""
    defaults = {"shards": shards, "size": 32, "cache_dir": scratch, "workers": 0, "timeout_s": 60}
    return DataConfig.model_validate({**defaults, "shuffle_buffer": 7, **changes})


def open_numbered(shards: Path | str, scratch: Path, **changes: Any) -> ImageDataset:
    """Open a set with `data_config`."""
    return open_dataset(data_config(shards, scratch, **changes))


def image_numbers(batch: Tensor) -> list[int]:
    """Return the rows of the images in a batch."""
    assert batch.dtype == torch.float32
    assert batch.shape[1:] == (1, 32, 32)
    assert bool((batch == batch[:, :, :1, :1]).all())
    shades: list[int] = ((batch[:, 0, 0, 0].double() + 1) * 127.5).round().int().tolist()
    return [shade - 1 for shade in shades]


def read_numbers(
    dataset: ImageDataset,
    *,
    steps: int,
    ranks: int = 1,
    local_batch_size: int = 1,
    start: int = 0,
    seed: int = 0,
) -> list[int]:
    """Return the rows of the images that all ranks receive in `steps` steps, by position."""
    per_rank = []
    for rank in range(ranks):
        first = PositionalRNG(seed, start + rank * local_batch_size, local_batch_size)
        batches = dataset.batches(first, ranks * local_batch_size, CPU, torch.contiguous_format)
        per_rank.append([image_numbers(batch.images) for batch in itertools.islice(batches, steps)])
        batches.close()  # type: ignore[attr-defined]
    return [n for step in zip(*per_rank, strict=True) for batch in step for n in batch]


def png_location(shard: Path, key: str) -> tuple[int, int]:
    """Return offset and length of an image in its shard, according to tarfile."""
    with tarfile.open(shard) as tar:
        member = tar.getmember(f"{key}.png")
        return member.offset_data, member.size


def flip_byte(path: Path, offset: int) -> None:
    """Invert one byte of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)
