"""How fast images reach the networks: `python benchmarks/data.py`.

Side by side, in one run: a folder of files through a PyTorch DataLoader (what the book does),
webdataset as its documentation has it, `stream`, `cache`, and the limits that the machine sets:
walking the tars, decoding alone, and gathering from memory. Each gives shuffled float32 batches in
[-1, 1] on the CPU, without an end. The images are those of a set of shards, resized to each size.
Where litdata or mosaicml-streaming can be imported, they take part.

Run it with OMP_WAIT_POLICY=passive: else torch's threads wait by spinning, against the processes
that decode, and all that scales images with torch comes out too slow.

Every line is the median of several runs, taken in turns so that a change in the machine's load
meets all alike; ± is half the distance between the quartiles.
"""

import argparse
import io
import itertools
import os
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.other_loaders import other_loaders
from gantrain.common.rng import PositionalRNG
from gantrain.config import DataConfig
from gantrain.data.loading.datasets import open_dataset
from gantrain.data.shards.manifest import read_manifest
from gantrain.data.shards.reader import iterate_shard
from gantrain.data.shards.samples import Sample, decode_image
from gantrain.data.shards.writer import write_shards

BATCH = 128
CPU = torch.device("cpu")
Loader = Callable[[int], Iterator[Tensor]]  # from workers to endless batches


class FolderOfFiles(Dataset[Tensor]):
    """PNG files, decoded when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.rglob("*.png"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as image:
            pixels = np.asarray(image, np.float32)
        return torch.from_numpy(np.atleast_3d(pixels).transpose(2, 0, 1)).div_(127.5).sub_(1)


def files_loader(folder: Path, workers: int) -> Iterator[Tensor]:
    loader = DataLoader(
        FolderOfFiles(folder),
        BATCH,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=workers > 0,
    )
    while True:
        yield from loader


def default_webdataset(shards: Path, channels: int, workers: int) -> Iterator[Tensor]:
    kind = "torchl" if channels == 1 else "torchrgb"
    urls = [str(path) for path in sorted(shards.glob("*.tar"))]
    dataset = (
        webdataset.WebDataset(urls, shardshuffle=len(urls), empty_check=False)
        .shuffle(1000)
        .decode(kind)
        .to_tuple("png", "json")
        .repeat()
    )
    loader: DataLoader[Any] = DataLoader(
        dataset, BATCH, num_workers=workers, drop_last=True, collate_fn=images_alone
    )
    for batch in loader:
        yield batch.mul_(2).sub_(1)


def images_alone(samples: list[tuple[Tensor, Any]]) -> Tensor:
    return torch.stack([image.view(-1, *image.shape[-2:]) for image, _ in samples])


def ours(mode: str, config: DataConfig, workers: int) -> Iterator[Tensor]:
    changed = config.model_copy(update={"mode": mode, "workers": workers})
    dataset = open_dataset(changed)
    return dataset.batches(PositionalRNG(0, 0, BATCH), BATCH, CPU, torch.contiguous_format)


def from_memory(images: Tensor, workers: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    while True:
        for rows in torch.split(torch.randperm(len(images), generator=generator), BATCH):
            if len(rows) == BATCH:
                yield images[rows].float().div_(127.5).sub_(1)


def from_numpy(images: NDArray[np.uint8], workers: int) -> Iterator[Tensor]:
    generator = np.random.default_rng(0)
    while True:
        order = generator.permutation(len(images))
        for i in range(0, len(order) - BATCH + 1, BATCH):
            batch = images[order[i : i + BATCH]].astype(np.float32)
            batch -= 127.5
            batch /= 127.5
            yield torch.from_numpy(batch)


def speed_of(batches: Iterator[Tensor], workers: int, seconds: float) -> float:
    """Images/s once the first batches have come."""
    for _ in range(3 + 8 * workers):  # what workers had ready
        next(batches)
    began, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < seconds:
        count += len(next(batches))
    batches.close()  # type: ignore[attr-defined]
    return count / elapsed


def walk_speed(shards: Path, seconds: float) -> float:
    """Samples/s of a plain walk through the tars that reads every member."""
    began, count = time.perf_counter(), 0
    for path in itertools.cycle(sorted(shards.glob("*.tar"))):
        with tarfile.open(path, "r|") as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                content.read()
                count += 1
                if (elapsed := time.perf_counter() - began) > seconds:
                    return count / 2 / elapsed
    raise AssertionError


def decode_some(images: list[bytes], size: int, channels: int, seconds: float) -> float:
    began = time.perf_counter()
    for count, image in enumerate(itertools.cycle(images), 1):
        decode_image(image, size, channels, where="")
        if (elapsed := time.perf_counter() - began) > seconds:
            return count / elapsed
    raise AssertionError


def decode_speed(samples: list[Sample], config: DataConfig, workers: int, seconds: float) -> float:
    """Images/s of decoding PNGs that are in memory, in as many processes, and nothing else."""
    task = partial(
        decode_some, [s.image for s in samples[:500]], config.size, config.channels, seconds
    )
    if not workers:
        return task()
    with get_context("fork").Pool(workers) as pool:
        return sum(run.get() for run in [pool.apply_async(task) for _ in range(workers)])


def resized(source: Path, size: int, count: int) -> Iterator[Sample]:
    manifest = read_manifest(source)
    every = (s for entry in manifest.shards for s in iterate_shard(source, manifest, entry))
    for sample in itertools.islice(every, count):
        with Image.open(io.BytesIO(sample.image)) as image:
            file = io.BytesIO()
            image.resize((size, size), Image.Resampling.BILINEAR).save(file, "PNG")
        label = {**sample.label, "split": "train"}
        yield Sample(sample.key, file.getvalue(), label)


def measure(
    source: Path, size: int, workers: int, options: argparse.Namespace, folder: Path
) -> dict[str, list[float]]:
    """Images/s of every way at one size, `options.repeats` times by turns."""
    shards = folder / f"shards{size}"
    files = folder / f"files{size}"
    samples = list(resized(source, size, options.images))
    channels = read_manifest(source).channels
    if not shards.exists():
        write_shards(shards, samples, size=size, channels=channels, source="benchmark")
        files.mkdir()
        for sample in samples:
            (files / f"{sample.key}.png").write_bytes(sample.image)
    config = DataConfig.model_validate(
        {"shards": shards, "size": size, "channels": channels, "cache_dir": folder / "scratch"}
    )
    pixels = np.stack([decode_image(s.image, size, channels, where="") for s in samples])
    loaders: dict[str, Loader] = {
        "files": partial(files_loader, files),
        "webdataset": partial(default_webdataset, shards, channels),
        "stream": partial(ours, "stream", config),
        "cache": partial(ours, "cache", config),
        "torch memory": partial(from_memory, torch.from_numpy(pixels)),
        "memory": partial(from_numpy, pixels),
        **other_loaders(folder / f"others{size}", samples, size, channels),
    }
    found: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        for name, make in loaders.items():
            speed = speed_of(make(workers), workers, options.seconds)
            found.setdefault(name, []).append(speed)
        found.setdefault("walk", []).append(walk_speed(shards, options.seconds))
        decoding = decode_speed(samples, config, workers, options.seconds)
        found.setdefault("decode", []).append(decoding)
    return found


_NAMES = {
    "files": "folder of files, DataLoader",
    "webdataset": "webdataset, decode('torchl')",
    "litdata": "litdata, decoded uint8",
    "mosaic": "mosaicml-streaming, PNG",
    "stream": "**stream**",
    "cache": "**cache**",
    "walk": "limit: walking the tars, 1 process",
    "decode": "limit: decoding alone",
    "torch memory": "limit: gathering from memory, torch",
    "memory": "limit: gathering from memory, NumPy",
}


def table_of(found: dict[tuple[int, int], dict[str, list[float]]]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| pixels | workers | path | images/s | ± | to webdataset | to its limit |"
    yield "|---|---|---|---|---|---|---|"
    for (size, workers), speeds in found.items():
        medians = {name: statistics.median(runs) for name, runs in speeds.items()}
        for name, label in _NAMES.items():
            if name not in speeds:
                continue
            quartiles = np.percentile(speeds[name], [25, 75])
            spread = (quartiles[1] - quartiles[0]) / 2 / medians[name]
            limit = {"stream": "decode", "cache": "memory"}.get(name)
            of_limit = f"{ratio(speeds[name], speeds[limit]):.0%}" if limit else ""
            times = ratio(speeds[name], speeds["webdataset"])
            yield (
                f"| {size} | {workers} | {label} | {medians[name]:,.0f} | {spread:.0%} | "
                f"{times:.1f}x | {of_limit} |"
            )


def ratio(one: list[float], other: list[float]) -> float:
    """The median of the ratios of runs that were beside one another."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shards", type=Path, default=Path("data/bricks64"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for size, workers in itertools.product(options.sizes, options.workers):
            found[size, workers] = measure(options.shards, size, workers, options, Path(folder))
            print(f"measured {size} pixels, {workers} workers", file=sys.stderr)
    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    load = os.getloadavg()[0]
    print(f"{cores} cores, {threads} torch threads, load {load:.1f} at the end, batch {BATCH}")
    print("\n".join(table_of(found)))


if __name__ == "__main__":
    main()
