"""How trainings scale over ranks: measured on 1 and 2 here, forecast for more.

    python -m benchmarks.scaling --width 32 --batch 32 64 128
    python -m benchmarks.scaling --forecast --gpu-images 30000

The first measures DCGAN iterations on one core a rank, with weak scaling (as many images on each
rank) and strong (as many in all), and the all-reduce of gloo on the loopback; fits the cost model
of benchmarks/costs.py to the runs of one rank and to the all-reduce alone, and shows how far its
forecast for two ranks is off. The second forecasts GPUs from numbers that you give: measure your
own `--gpu-images` (images/s of one GPU at `--batch`, from the progress line) and network.
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

from benchmarks.costs import Device, Network, iteration
from benchmarks.images import generate_images
from benchmarks.parent import Contender, free_port, take_turns
from benchmarks.rooms import seconds_each
from benchmarks.train import Cell, settings_of
from gantrain.config import load_config
from gantrain.models.networks import build_networks

_SIZES = [2**k for k in range(12, 25, 2)]  # bytes
_CONFIG = Path(__file__).parent.parent / "configs" / "dcgan.yaml"


def main() -> None:
    """Measure and fit, or forecast."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 64, 128], help="of a rank")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--overlap", type=float, default=0.5, help="of computing and gradients")
    parser.add_argument("--forecast", action="store_true")
    parser.add_argument("--gpu-images", type=float, default=30_000, help="images/s of one GPU")
    parser.add_argument("--gpu-fixed", type=float, default=1e-3, help="seconds of an iteration")
    parser.add_argument("--latency", type=float, default=10e-6, help="seconds of a message")
    parser.add_argument("--bandwidth", type=float, default=25e9, help="bytes/s of a GPU, to others")
    parser.add_argument("--inside", type=float, default=8.0, help="times as fast in a node")
    parser.add_argument("--per-node", type=int, default=8)
    parser.add_argument("--images", type=float, default=250_000, help="images/s of the data")
    parser.add_argument("--kimg", type=float, default=12_000, help="of a run")
    options = parser.parse_args()
    if options.forecast:
        forecast(options)
    else:
        measure(options)


def gradient_bytes(width: int) -> int:
    """Of both networks of configs/dcgan.yaml, in float32."""
    overrides = [f"generator.width={width}", f"discriminator.width={width}"]
    networks = build_networks(load_config(_CONFIG, overrides))
    return sum(4 * p.numel() for network in networks for p in network.parameters())


def measure(options: argparse.Namespace) -> None:
    """Iterations on one and two ranks, the fit, and what it forecasts for two."""
    sizes, seconds = all_reduce_seconds()
    latency, per_byte = (float(x) for x in relative_fit(sizes, seconds))
    # Two ranks: 2 messages one after the other, and as many bytes as the vector has.
    network = Network(latency / 2, 1 / per_byte)
    print(f"gloo all-reduce, 2 ranks: {latency * 1e6:.0f} us + size / {1e-9 / per_byte:.2f} GB/s")
    with tempfile.TemporaryDirectory() as folder:
        alone, weak, strong = measured_iterations(options, Path(folder))
    each, fixed = (float(x) for x in np.polyfit(options.batch, alone, 1))
    device = Device(max(fixed, 0.0), each, options.images)
    exchanged = gradient_bytes(options.width)
    print(f"one rank: {1e3 * device.fixed:.1f} ms + {1e3 * each:.3f} ms an image; ", end="")
    print(f"gradients {exchanged / 1e6:.1f} MB")
    print("batch a rank  1 rank  2, weak  efficiency  forecast   2, strong  speed-up  forecast")
    for i, batch in enumerate(options.batch):
        of_weak = iteration(device, network, 2, batch, exchanged, options.overlap).total
        of_strong = iteration(device, network, 2, batch / 2, exchanged, options.overlap).total
        print(
            f"{batch:12d} {1e3 * alone[i]:7.1f} {1e3 * weak[i]:8.1f} {alone[i] / weak[i]:11.0%}"
            f" {alone[i] / of_weak:9.0%} {1e3 * strong[i]:11.1f} {alone[i] / strong[i]:9.2f}"
            f" {alone[i] / of_strong:9.2f}   (times in ms)"
        )


def measured_iterations(
    options: argparse.Namespace, folder: Path
) -> tuple[list[float], list[float], list[float]]:
    """Median seconds on one rank, and on two with as many images each and in all."""
    shards, files = generate_images(folder, 64)
    options.size, options.set = 64, []
    found: tuple[list[float], list[float], list[float]] = ([], [], [])
    for batch in options.batch:
        with ExitStack() as stack:
            contenders = []
            for ranks, whole in ((1, batch), (2, 2 * batch), (2, batch)):
                cell = Cell("dcgan", options.width, whole, ranks)
                made = settings_of(options, cell, "ours", options.precision, shards, files)
                one_core = replace(made.changed(training={"cpu_threads": 1}), threads=1)
                name = f"{ranks} of {whole}"
                contender = Contender(name, one_core, sys.executable, folder)
                contenders.append(stack.enter_context(contender))
                contender.get_ready(options.seconds)
            take_turns(contenders, options.rounds)
            for times, contender in zip(found, contenders, strict=True):
                times.append(statistics.median(seconds_each(contender)))
    return found


def all_reduce_seconds() -> tuple[list[int], list[float]]:
    """Median seconds of gloo's all-reduce over two processes, by bytes."""
    with Manager() as manager:
        times = manager.dict()
        spawn(_reduce, (free_port(), times), nprocs=2)  # type: ignore[no-untyped-call]
        return list(_SIZES), [times[size] for size in _SIZES]


def _reduce(rank: int, port: int, times: dict[int, float]) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    for size in _SIZES:
        vector = torch.ones(size // 4)
        spent = []
        for _ in range(30):
            distributed.barrier()
            began = time.perf_counter()
            distributed.all_reduce(vector)
            spent.append(time.perf_counter() - began)
        if rank == 0:
            times[size] = statistics.median(spent[10:])
    distributed.destroy_process_group()


def relative_fit(sizes: list[int], seconds: list[float]) -> np.ndarray:
    """Seconds of a message and of a byte, by least squares of relative errors."""
    x, y = np.asarray(sizes, float), np.asarray(seconds)
    columns = np.stack([1 / y, x / y], 1)
    found: np.ndarray = np.linalg.lstsq(columns, np.ones_like(y), rcond=None)[0]
    return found.clip(min=1e-15)


def forecast(options: argparse.Namespace) -> None:
    """A table for 1 to 512 GPUs, with as many images on each GPU and with as many in all."""
    exchanged = gradient_bytes(options.width)
    network = Network(options.latency, options.bandwidth, options.per_node, options.inside)
    for batch in options.batch:
        each = 1 / options.gpu_images - options.gpu_fixed / batch
        if each <= 0:
            sys.exit(
                f"--gpu-fixed: {options.gpu_fixed} s is all of the time that {batch} images take "
                f"at --gpu-images {options.gpu_images:.0f}; give a smaller one."
            )
        device = Device(options.gpu_fixed, each, options.images)
        print(f"batch {batch} on a GPU ({options.gpu_images:,.0f} images/s), ", end="")
        print(f"{exchanged / 1e6:.0f} MB of gradients; a run of {options.kimg:,.0f} kimg")
        print(
            "GPUs   images/s  efficiency  binds      minutes  GPU-hours   as many in all: images/s"
        )
        for ranks in (1, 2, 8, 64, 512):
            weak = iteration(device, network, ranks, batch, exchanged, options.overlap)
            strong = iteration(device, network, ranks, batch / ranks, exchanged, options.overlap)
            rate = ranks * batch / weak.total
            hours = options.kimg * 1000 / rate / 3600
            print(
                f"{ranks:4d} {rate:10,.0f} {rate / ranks / options.gpu_images:10.0%}  "
                f"{weak.binds:10s} {hours * 60:7.2f} {hours * ranks:10.2f} "
                f"{batch / strong.total:20,.0f} ({strong.binds})"
            )


if __name__ == "__main__":
    main()
