"""Sets of images that say which row of their set they are."""

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
from gantrain.data.loading.datasets import ImageDataset, open_dataset
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards

CPU = torch.device("cpu")
PER_SHARD = {1: 23, 3: 10, 8: 3}  # images a shard such that 23 fill so many, unevenly


def numbered_samples(count: int, **label: Any) -> Iterator[Sample]:
    """Images of 32x32 in shades from 1 on, so that none is black; parts "a" and "b" by turns."""
    for i in range(count):
        file = io.BytesIO()
        Image.new("L", (32, 32), i + 1).save(file, "PNG")
        part = "ab"[i % 2]
        yield Sample(f"n{i:03d}", file.getvalue(), {"part": part, "view": i // 2, **label})


def numbered_set(folder: Path, shards: int = 3, count: int = 23) -> Path:
    """A set of such images; gives its folder."""
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
    """A config of the data path alone, with time-outs fit for a test."""
    tree = {"shards": shards, "size": 32, "cache_dir": scratch, "workers": 0, "timeout_s": 5}
    return DataConfig.model_validate({**tree, "shuffle_buffer": 7, **changes})


def opened(shards: Path | str, scratch: Path, **changes: Any) -> ImageDataset:
    """The images of a set, quietly."""
    return open_dataset(data_config(shards, scratch, **changes))


def numbers(batch: Tensor) -> list[int]:
    """Which images a batch holds."""
    assert batch.dtype == torch.float32
    assert batch.shape[1:] == (1, 32, 32)
    assert bool((batch == batch[:, :, :1, :1]).all())
    shades: list[int] = ((batch[:, 0, 0, 0].double() + 1) * 127.5).round().int().tolist()
    return [shade - 1 for shade in shades]


def sequence(
    dataset: ImageDataset,
    *,
    steps: int,
    ranks: int = 1,
    share: int = 1,
    start: int = 0,
    seed: int = 0,
) -> list[int]:
    """What the ranks together are given in so many steps, by position."""
    of_ranks = []
    for rank in range(ranks):
        first = PositionalRNG(seed, start + rank * share, share)
        batches = dataset.batches(first, ranks * share, CPU, torch.contiguous_format)
        of_ranks.append([numbers(batch) for batch in itertools.islice(batches, steps)])
        batches.close()  # type: ignore[attr-defined]
    return [n for step in zip(*of_ranks, strict=True) for of_rank in step for n in of_rank]


def png_place(shard: Path, key: str) -> tuple[int, int]:
    """Offset and length of an image in its shard, as tarfile finds them."""
    with tarfile.open(shard) as tar:
        member = tar.getmember(f"{key}.png")
        return member.offset_data, member.size


def flip_byte(path: Path, offset: int) -> None:
    """Flip all bits of one byte."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)
