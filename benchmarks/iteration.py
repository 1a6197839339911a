"""Time an iteration of our training, and count the kernels that it keeps a GPU busy with.

    python -m benchmarks.iteration --device cuda --objective dcgan --precision bf16
    python -m benchmarks.iteration --device cuda --set training.cuda_graphs=off

Trains as `gantrain/train.py` does, without samples, checkpoints and quality. Prints the time of an
iteration (all D steps and the G step), and how long the host takes for one while the GPU has other
work to do: what it takes more than the GPU makes the GPU wait. On a GPU, also the kernels of an
iteration, the sum of their times, and the kernels that take longest.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile

import gantrain.train
from benchmarks.device import BenchmarkDevice
from benchmarks.errors import run
from benchmarks.images import generate_images
from benchmarks.pacing import NoMoreRounds
from benchmarks.settings import CONFIG_FILES
from benchmarks.train import Cell, job_settings
from gantrain.config import Config, parse_config
from gantrain.data.loading.datasets import Images
from gantrain.training.batch import real_batches

_NEVER = 1e6  # kimg
_QUEUED, _PROFILED = 4, 5  # iterations: few enough for a GPU's queue, and for a profile
_ROWS = 15


class Watch:
    """Looks at the clock and the device between iterations."""

    def __init__(self, device: BenchmarkDevice, images: int, warmup: int, timed: int) -> None:
        self._device, self._images, self._timed = device, images, timed
        self._warmup = warmup
        self._started = 0.0

    def iterations(self) -> Iterator[None]:
        """Yield before each iteration until all is measured."""
        yield from itertools.repeat(None, self._warmup)
        self._start()
        yield from itertools.repeat(None, self._timed)
        self._device.wait()
        seconds = self._seconds() / self._timed
        print(f"{1000 * seconds:.2f} ms an iteration, {self._images / seconds:,.0f} images/s")
        self._start()
        yield from itertools.repeat(None, _QUEUED)
        print(f"{1000 * self._seconds() / _QUEUED:.2f} ms of the host")
        if self._device.kind == "cuda":
            yield from self._kernels()

    def _kernels(self) -> Iterator[None]:
        self._device.wait()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            yield from itertools.repeat(None, _PROFILED)
            self._device.wait()
        kernels = [e for e in profiler.events() if e.device_type.name == "CUDA"]
        busy = sum(kernel.device_time for kernel in kernels) / 1000 / _PROFILED
        print(f"{len(kernels) / _PROFILED:.0f} kernels, {busy:.2f} ms of the GPU")
        memory = torch.cuda.max_memory_reserved()
        print(f"{memory / 1e9:.2f} GB, the peak of torch's allocator")
        table = profiler.key_averages().table(
            sort_by="self_cuda_time_total", row_limit=_ROWS, max_name_column_width=70
        )
        print(table)

    def _start(self) -> None:
        self._device.wait()
        self._started = time.perf_counter()

    def _seconds(self) -> float:
        return time.perf_counter() - self._started


def watch(config: Config, kind: str, warmup: int, timed: int) -> None:
    """Train until everything is measured, and print it."""
    n_critic, batch = config.objective.n_critic, config.training.batch_size
    watcher = Watch(BenchmarkDevice(kind), n_critic * batch, warmup, timed)

    def watched(*arguments: Any, **named: Any) -> Iterator[Images]:
        batches = real_batches(*arguments, **named)
        for _ in watcher.iterations():
            yield from itertools.islice(batches, n_critic)
        raise NoMoreRounds

    with patch.object(gantrain.train, "real_batches", watched), suppress(NoMoreRounds):
        gantrain.train.run_training(config)


def main() -> None:
    """Measure and print one setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--objective", choices=CONFIG_FILES, default="dcgan")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, choices=(32, 64), default=64, help="image size")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides")
    parser.add_argument("--warmup", type=int, default=20, help="iterations before the clock starts")
    parser.add_argument("--timed", type=int, default=100, help="iterations to time")
    options = parser.parse_args()
    cell = Cell(options.objective, options.width, options.batch, 1)
    with tempfile.TemporaryDirectory() as scratch:
        sets = generate_images(Path(scratch), options.size)
        settings = job_settings(options, cell, "ours", options.precision, *sets)
        output = {
            "run_dir": f"{scratch}/run",
            "sample_every_kimg": _NEVER,
            "checkpoint_every_kimg": _NEVER,
        }
        config = parse_config(settings.with_config(output=output).config, "benchmark")
        watch(config, options.device, options.warmup, options.timed)


if __name__ == "__main__":
    run("iteration", main)
