"""Loaders of other libraries, compared with ours if they are installed."""

import importlib.util
import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from gantrain.data.loading.datasets import scaled
from gantrain.data.shards.samples import Sample, decode_image

BATCH = 128
Loader = Callable[[int], Iterator[Tensor]]  # from a number of workers to endless batches


def other_loaders(
    folder: Path, samples: list[Sample], size: int, channels: int
) -> dict[str, Loader]:
    """Write the samples in the format of each installed library; return its loader by name."""
    loaders: dict[str, Loader] = {}
    if importlib.util.find_spec("litdata"):
        write_litdata(folder / "litdata", samples, size, channels)
        loaders["litdata"] = partial(litdata_loader, folder / "litdata")
    if importlib.util.find_spec("streaming"):
        write_mosaic(folder / "mosaic", samples)
        loaders["mosaic"] = partial(mosaic_loader, folder / "mosaic")
    return loaders


def litdata_loader(folder: Path, workers: int) -> Iterator[Tensor]:
    """Yield batches of a litdata dataset."""
    import litdata  # type: ignore[import-not-found,unused-ignore]

    dataset = litdata.StreamingDataset(str(folder), shuffle=True, drop_last=True)
    loader = litdata.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers)
    while True:
        for batch in loader:
            yield scaled(batch["image"])


def write_litdata(folder: Path, samples: list[Sample], size: int, channels: int) -> None:
    """Write a litdata dataset of decoded uint8 images, unless it exists."""
    if folder.exists():
        return
    from litdata.streaming.writer import (  # type: ignore[import-not-found,unused-ignore]
        BinaryWriter,
    )

    writer = BinaryWriter(str(folder), chunk_bytes="64MB")
    for i, sample in enumerate(samples):
        pixels = decode_image(sample.image, size, channels, where="")
        writer.add_item(i, {"image": torch.from_numpy(pixels)})
    writer.done()
    writer.merge()


def mosaic_loader(folder: Path, workers: int) -> Iterator[Tensor]:
    """Yield batches of a mosaicml-streaming dataset."""
    from streaming import StreamingDataset  # type: ignore[import-not-found,unused-ignore]
    from streaming.base.util import (  # type: ignore[import-not-found,unused-ignore]
        clean_stale_shared_memory,
    )

    clean_stale_shared_memory()
    dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH)
    loader: DataLoader[Any] = DataLoader(
        dataset, BATCH, num_workers=workers, drop_last=True, collate_fn=_collate_mosaic
    )
    while True:
        yield from loader


def _collate_mosaic(samples: list[dict[str, Any]]) -> Tensor:
    pixels = [np.atleast_3d(np.asarray(sample["image"])).transpose(2, 0, 1) for sample in samples]
    return scaled(torch.from_numpy(np.stack(pixels)))


def write_mosaic(folder: Path, samples: list[Sample]) -> None:
    """Write a mosaicml-streaming dataset of PNGs, unless it exists."""
    if folder.exists():
        return
    from streaming import MDSWriter

    with MDSWriter(out=str(folder), columns={"image": "png"}) as writer:
        for sample in samples:
            writer.write({"image": Image.open(io.BytesIO(sample.image))})
