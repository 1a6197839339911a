"""Measure how fast images reach the networks: `python -m benchmarks.data`.

Compares, in one run: a folder of files with a PyTorch DataLoader (the book's way), webdataset as in
its documentation, `stream`, `cache`, and the limits of the machine: reading the tars, decoding
alone, and gathering batches from memory. Each loader yields endless shuffled float32 batches in
[-1, 1] on the CPU. The images come from a set of shards and are resized to each size. litdata and
mosaicml-streaming are included if they are installed.

Set OMP_WAIT_POLICY=passive. Otherwise torch's threads spin while they wait and take CPU time from
the decoding processes, which slows every loader that scales images with torch.

Each line is the median of several interleaved runs, so that a change in the load of the machine
affects all loaders alike; ± is half the interquartile range.
"""

import argparse
import io
import itertools
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
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

from benchmarks.errors import require_set, run
from benchmarks.other_loaders import BATCH, Loader, other_loaders
from benchmarks.spread import paired_ratio, spread_of
from gantrain.common.pools import affinity
from gantrain.common.rng import PositionalRNG
from gantrain.config import DataConfig
from gantrain.data.loading.opening import open_dataset
from gantrain.data.shards.manifest import read_manifest
from gantrain.data.shards.reader import iterate_shard
from gantrain.data.shards.samples import Sample, decode_image
from gantrain.data.shards.writer import write_shards

CPU = torch.device("cpu")
Speeds = dict[str, list[float]]  # images/s of each run, by loader


class FolderOfFiles(Dataset[Tensor]):
    """PNG files, decoded on access."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.rglob("*.png"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as image:
            pixels = np.asarray(image, np.float32)
        return torch.from_numpy(np.atleast_3d(pixels).transpose(2, 0, 1)).div_(127.5).sub_(1)


def files_loader(folder: Path, workers: int) -> Iterator[Tensor]:
    """Yield batches of a folder of PNG files through a DataLoader."""
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


def webdataset_loader(shards: Path, channels: int, workers: int) -> Iterator[Tensor]:
    """Yield batches of shards through webdataset, as its documentation has it."""
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
        dataset, BATCH, num_workers=workers, drop_last=True, collate_fn=_stack_images
    )
    for batch in loader:
        yield batch.mul_(2).sub_(1)


def _stack_images(samples: list[tuple[Tensor, Any]]) -> Tensor:
    return torch.stack([image.view(-1, *image.shape[-2:]) for image, _ in samples])


def our_loader(mode: str, config: DataConfig, workers: int) -> Iterator[Tensor]:
    """Return gantrain's batches. mode: cache or stream."""
    dataset = open_dataset(config.model_copy(update={"mode": mode, "workers": workers}))
    batches = dataset.batches(PositionalRNG(0, 0, BATCH), BATCH, CPU, torch.contiguous_format)
    return (batch.images for batch in batches)


def gather_with_torch(images: Tensor, workers: int) -> Iterator[Tensor]:
    """Yield batches of images in memory, uint8 (N, C, S, S)."""
    generator = torch.Generator().manual_seed(0)
    while True:
        for rows in torch.split(torch.randperm(len(images), generator=generator), BATCH):
            if len(rows) == BATCH:
                yield images[rows].float().div_(127.5).sub_(1)


def gather_with_numpy(images: NDArray[np.uint8], workers: int) -> Iterator[Tensor]:
    """Yield batches of images in memory, uint8 (N, C, S, S)."""
    generator = np.random.default_rng(0)
    while True:
        order = generator.permutation(len(images))
        for i in range(0, len(order) - BATCH + 1, BATCH):
            batch = images[order[i : i + BATCH]].astype(np.float32)
            batch -= 127.5
            batch /= 127.5
            yield torch.from_numpy(batch)


def loader_speed(batches: Iterator[Tensor], workers: int, seconds: float) -> float:
    """Return images/s after a warm-up."""
    for _ in range(3 + 8 * workers):  # more than the workers have prefetched
        next(batches)
    started, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        count += len(next(batches))
    batches.close()  # type: ignore[attr-defined]
    return count / elapsed


def tar_speed(shards: Path, seconds: float) -> float:
    """Return samples/s of reading every member of the tars."""
    started, count = time.perf_counter(), 0
    for path in itertools.cycle(sorted(shards.glob("*.tar"))):
        with tarfile.open(path, "r|") as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                content.read()
                count += 1
                if (elapsed := time.perf_counter() - started) > seconds:
                    return count / 2 / elapsed
    raise AssertionError


def _decode_for(images: list[bytes], size: int, channels: int, seconds: float) -> float:
    started = time.perf_counter()
    for count, image in enumerate(itertools.cycle(images), 1):
        decode_image(image, size, channels, where="")
        if (elapsed := time.perf_counter() - started) > seconds:
            return count / elapsed
    raise AssertionError


def decode_speed(samples: list[Sample], config: DataConfig, workers: int, seconds: float) -> float:
    """Return images/s of decoding PNGs from memory in `workers` processes, and nothing else."""
    task = partial(
        _decode_for, [s.image for s in samples[:500]], config.size, config.channels, seconds
    )
    if not workers:
        return task()
    with get_context("fork").Pool(workers) as pool:
        return sum(run.get() for run in [pool.apply_async(task) for _ in range(workers)])


def resized_samples(source: Path, size: int, count: int) -> Iterator[Sample]:
    """Yield the first `count` samples of a set, resized and moved to the training split."""
    manifest = read_manifest(source)
    samples = (s for entry in manifest.shards for s in iterate_shard(source, manifest, entry))
    for sample in itertools.islice(samples, count):
        with Image.open(io.BytesIO(sample.image)) as image:
            file = io.BytesIO()
            image.resize((size, size), Image.Resampling.BILINEAR).save(file, "PNG")
        label = {**sample.label, "split": "train"}
        yield Sample(sample.key, file.getvalue(), label)


def measure(
    source: Path, size: int, workers: int, options: argparse.Namespace, folder: Path
) -> Speeds:
    """Measure every loader at one size, interleaved, `options.repeats` times."""
    shards = folder / f"shards{size}"
    files = folder / f"files{size}"
    samples = list(resized_samples(source, size, options.images))
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
        "webdataset": partial(webdataset_loader, shards, channels),
        "stream": partial(our_loader, "stream", config),
        "cache": partial(our_loader, "cache", config),
        "torch memory": partial(gather_with_torch, torch.from_numpy(pixels)),
        "memory": partial(gather_with_numpy, pixels),
        **other_loaders(folder / f"others{size}", samples, size, channels),
    }
    speeds: Speeds = {name: [] for name in (*loaders, "tar", "decode")}
    for _ in range(options.repeats):
        for name, make in loaders.items():
            speeds[name].append(loader_speed(make(workers), workers, options.seconds))
        speeds["tar"].append(tar_speed(shards, options.seconds))
        speeds["decode"].append(decode_speed(samples, config, workers, options.seconds))
    return speeds


_LABELS = {
    "files": "folder of files, DataLoader",
    "webdataset": "webdataset, decode('torchl')",
    "litdata": "litdata, decoded uint8",
    "mosaic": "mosaicml-streaming, PNG",
    "stream": "**stream**",
    "cache": "**cache**",
    "tar": "limit: walking the tars, 1 process",
    "decode": "limit: decoding alone",
    "torch memory": "limit: gathering from memory, torch",
    "memory": "limit: gathering from memory, NumPy",
}


def table_lines(results: dict[tuple[int, int], Speeds]) -> Iterator[str]:
    """Yield a Markdown table of results by (size, workers)."""
    yield "| pixels | workers | path | images/s | ± | to webdataset | to its limit |"
    yield "|---|---|---|---|---|---|---|"
    for (size, workers), speeds in results.items():
        for name, label in _LABELS.items():
            if name not in speeds:
                continue
            spread = spread_of(speeds[name])
            limit = {"stream": "decode", "cache": "memory"}.get(name)
            of_limit = f"{paired_ratio(speeds[name], speeds[limit]).median:.0%}" if limit else ""
            times = paired_ratio(speeds[name], speeds["webdataset"]).median
            yield (
                f"| {size} | {workers} | {label} | {spread.median:,.0f} | "
                f"{spread.half / spread.median:.0%} | {times:.1f}x | {of_limit} |"
            )


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shards", type=Path, default=Path("data/bricks64"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="time of each run")
    options = parser.parse_args()
    require_set(options.shards)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for size, workers in itertools.product(options.sizes, options.workers):
            results[size, workers] = measure(options.shards, size, workers, options, Path(folder))
            print(f"measured {size} pixels, {workers} workers", file=sys.stderr)
    cores, threads = len(affinity()), torch.get_num_threads()
    load = os.getloadavg()[0]
    print(f"{cores} cores, {threads} torch threads, load {load:.1f} at the end, batch {BATCH}")
    print("\n".join(table_lines(results)))


if __name__ == "__main__":
    run("data", main)
