"""Measure how training scales from one rank to two, and predict how it scales to more.

    python -m benchmarks.scaling --width 32 --batch 32 64 128
    python -m benchmarks.scaling --forecast --gpu-images 30000

The first command measures DCGAN iterations with one core for each rank, under weak scaling
(constant batch per rank) and strong scaling (constant global batch), and gloo's all-reduce on the
loopback. It fits the cost model of benchmarks/cost_model.py to the one-rank runs and to the
all-reduce alone, and compares its prediction for two ranks with the measurement. The second command
predicts GPU training from numbers that you supply: measure your own `--gpu-images` (images/s of one
GPU at `--batch`, from the progress line) and interconnect.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import Manager
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from benchmarks.cost_model import Device, Interconnect, predict_iteration
from benchmarks.errors import run
from benchmarks.images import generate_images
from benchmarks.jobs import Job, free_port, run_interleaved
from benchmarks.settings import CONFIG_FILES
from benchmarks.train import Cell, job_settings
from gantrain.config import load_config
from gantrain.models.networks import build_networks

_SIZES = [2**k for k in range(12, 25, 2)]  # bytes
_GPUS = (1, 2, 8, 64, 512)


def main() -> None:
    """Measure and fit, or predict."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument(
        "--batch", type=int, nargs="+", default=[32, 64, 128], help="batch size of each rank"
    )
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="approximate time of a round")
    parser.add_argument("--warmup", type=int, default=3, help="iterations before the first round")
    parser.add_argument(
        "--overlap",
        type=float,
        default=0.5,
        help="fraction of the computation that overlaps with the exchange of gradients",
    )
    parser.add_argument("--forecast", action="store_true", help="predict GPU training")
    parser.add_argument("--gpu-images", type=float, default=30_000, help="images/s of one GPU")
    parser.add_argument(
        "--gpu-fixed", type=float, default=1e-3, help="fixed seconds of an iteration"
    )
    parser.add_argument("--latency", type=float, default=10e-6, help="seconds of a message")
    parser.add_argument(
        "--bandwidth", type=float, default=25e9, help="bytes/s of a GPU between nodes"
    )
    parser.add_argument(
        "--intra-node-speedup", type=float, default=8.0, help="relative bandwidth within a node"
    )
    parser.add_argument("--per-node", type=int, default=8, help="GPUs in a node")
    parser.add_argument(
        "--images", type=float, default=250_000, help="images/s of each rank's data pipeline"
    )
    parser.add_argument("--kimg", type=float, default=12_000, help="length of a run")
    options = parser.parse_args()
    if options.forecast:
        forecast(options)
    else:
        measure(options)


def gradient_bytes(width: int) -> int:
    """Return the size of the float32 gradients of both networks of configs/dcgan.yaml."""
    overrides = [f"generator.width={width}", f"discriminator.width={width}"]
    networks = build_networks(load_config(CONFIG_FILES["dcgan"], overrides))
    return sum(4 * p.numel() for network in networks for p in network.parameters())


def measure(options: argparse.Namespace) -> None:
    """Measure one and two ranks, fit the model, and print its predictions for two."""
    sizes, seconds = all_reduce_seconds()
    latency, per_byte = (float(x) for x in relative_fit(sizes, seconds))
    # Two ranks exchange two consecutive messages, and as many bytes as the vector has.
    interconnect = Interconnect(latency / 2, 1 / per_byte)
    print(f"gloo all-reduce, 2 ranks: {latency * 1e6:.0f} us + size / {1e-9 / per_byte:.2f} GB/s")
    with tempfile.TemporaryDirectory() as folder:
        single, weak, strong = measured_iterations(options, Path(folder))
    per_image, fixed = (float(x) for x in np.polyfit(options.batch, single, 1))
    device = Device(max(fixed, 0.0), per_image, options.images)
    gradients = gradient_bytes(options.width)
    print(
        f"one rank: {1e3 * device.fixed_seconds:.1f} ms + {1e3 * per_image:.3f} ms/image; "
        f"gradients {gradients / 1e6:.1f} MB"
    )
    print("batch a rank  1 rank  2, weak  efficiency  forecast  2, strong   speed-up  forecast")
    for i, batch in enumerate(options.batch):
        predicted_weak, predicted_strong = (
            predict_iteration(device, interconnect, 2, b, gradients, options.overlap).total
            for b in (batch, batch / 2)
        )
        print(
            f"{batch:12d} {1e3 * single[i]:7.1f} {1e3 * weak[i]:8.1f} {single[i] / weak[i]:11.0%}"
            f" {single[i] / predicted_weak:9.0%} {1e3 * strong[i]:10.1f}"
            f" {single[i] / strong[i]:10.2f} {single[i] / predicted_strong:9.2f}   (times in ms)"
        )


def measured_iterations(
    options: argparse.Namespace, folder: Path
) -> tuple[list[float], list[float], list[float]]:
    """Return median seconds of an iteration for each batch: one rank, two weak, two strong."""
    shards, files = generate_images(folder, 64)
    options.size, options.set = 64, []
    single: list[float] = []
    weak: list[float] = []
    strong: list[float] = []
    for batch in options.batch:
        with ExitStack() as stack:
            jobs = []
            for ranks, global_batch in ((1, batch), (2, 2 * batch), (2, batch)):
                cell = Cell("dcgan", options.width, global_batch, ranks)
                settings = job_settings(options, cell, "ours", options.precision, shards, files)
                settings = replace(settings.with_config(training={"cpu_threads": 1}), threads=1)
                name = f"{ranks} of {global_batch}"
                job = stack.enter_context(Job(name, settings, sys.executable, folder))
                job.warm_up(options.seconds)
                jobs.append(job)
            run_interleaved(jobs, options.rounds)
            for times, job in zip((single, weak, strong), jobs, strict=True):
                times.append(statistics.median(job.seconds_per_iteration))
    return single, weak, strong


def all_reduce_seconds() -> tuple[list[int], list[float]]:
    """Return sizes in bytes, and the median seconds of gloo's all-reduce over two processes."""
    with Manager() as manager:
        times = manager.dict()
        spawn(_time_all_reduce, (free_port(), times), nprocs=2)  # type: ignore[no-untyped-call]
        return list(_SIZES), [times[size] for size in _SIZES]


def _time_all_reduce(rank: int, port: int, times: dict[int, float]) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    for size in _SIZES:
        vector = torch.ones(size // 4)
        seconds = []
        for _ in range(30):
            distributed.barrier()
            started = time.perf_counter()
            distributed.all_reduce(vector)
            seconds.append(time.perf_counter() - started)
        if rank == 0:
            times[size] = statistics.median(seconds[10:])
    distributed.destroy_process_group()


def relative_fit(sizes: list[int], seconds: list[float]) -> np.ndarray:
    """Return seconds of a message and seconds/byte, by least squares of the relative errors."""
    x, y = np.asarray(sizes, float), np.asarray(seconds)
    columns = np.stack([1 / y, x / y], 1)
    fit: np.ndarray = np.linalg.lstsq(columns, np.ones_like(y), rcond=None)[0]
    return fit.clip(min=1e-15)


def forecast(options: argparse.Namespace) -> None:
    """Print predictions for 1 to 512 GPUs, with a constant batch per GPU and a constant total."""
    gradients = gradient_bytes(options.width)
    interconnect = Interconnect(
        options.latency, options.bandwidth, options.per_node, options.intra_node_speedup
    )
    for batch in options.batch:
        per_image = 1 / options.gpu_images - options.gpu_fixed / batch
        if per_image <= 0:
            sys.exit(
                f"--gpu-fixed {options.gpu_fixed} exceeds the time of {batch} images at "
                f"--gpu-images {options.gpu_images:.0f}; choose a smaller value."
            )
        device = Device(options.gpu_fixed, per_image, options.images)
        print(f"batch {batch} per GPU ({options.gpu_images:,.0f} images/s), ", end="")
        print(f"{gradients / 1e6:.0f} MB of gradients; a run of {options.kimg:,.0f} kimg")
        print(
            "GPUs   images/s  efficiency  bottleneck   minutes  GPU-hours"
            "   constant global batch: images/s"
        )
        for ranks in _GPUS:
            weak, strong = (
                predict_iteration(device, interconnect, ranks, b, gradients, options.overlap)
                for b in (batch, batch / ranks)
            )
            speed = ranks * batch / weak.total
            hours = options.kimg * 1000 / speed / 3600
            print(
                f"{ranks:4d} {speed:10,.0f} {speed / ranks / options.gpu_images:10.0%}  "
                f"{weak.bottleneck:11s} {hours * 60:8.2f} {hours * ranks:10.2f} "
                f"{batch / strong.total:20,.0f} ({strong.bottleneck})"
            )


if __name__ == "__main__":
    run("scaling", main)
