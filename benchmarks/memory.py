"""Measure the peak memory of a rank: ours beside plain PyTorch, as `python -m benchmarks.memory`.

Each implementation trains for a few iterations on one thread, in a process of its own, one after
the other. Memory does not depend on what else the machine does, so that it need not be quiet. On a
GPU it is what torch's allocator reserved; on a CPU it is the peak of the whole process, without
DataLoader workers.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

from benchmarks.errors import run
from benchmarks.images import generate_images
from benchmarks.jobs import Job
from benchmarks.settings import BOOK_OBJECTIVES, CONFIG_FILES
from benchmarks.train import Cell, cell_settings

_IMPLEMENTATIONS = ("plain", "ours")


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objective", choices=CONFIG_FILES, nargs="+", default=[*BOOK_OBJECTIVES])
    parser.add_argument("--width", type=int, nargs="+", default=[64])
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--precision", choices=("fp32", "bf16"), nargs="+", default=["fp32"])
    parser.add_argument("--size", type=int, choices=(32, 64), default=64, help="image size")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--warmup", type=int, default=2, help="iterations before the peak is read")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="of our config")
    options = parser.parse_args()
    options.set = [*options.set, "training.cpu_threads=1"]
    options.implementations, options.book_python = [*_IMPLEMENTATIONS], None
    print("| objective | width | batch | precision | GB plain | GB ours | ours/plain |")
    print("|---" * 7 + "|")
    with tempfile.TemporaryDirectory() as scratch:
        shards, files = generate_images(Path(scratch), options.size)
        cells = itertools.product(options.objective, options.width, options.batch)
        for objective, width, batch in cells:
            cell = Cell(objective, width, batch, 1)
            peaks = {
                name: peak_gigabytes(Job(name, settings, python, Path(scratch)))
                for name, python, settings in cell_settings(options, cell, shards, files)
            }
            for precision in options.precision:
                plain, ours = (peaks[f"{name} {precision}"] for name in _IMPLEMENTATIONS)
                print(
                    f"| {objective} | {width} | {batch} | {precision} | {plain:.2f} | {ours:.2f} "
                    f"| {ours / plain:.2f} |",
                    flush=True,
                )


def peak_gigabytes(job: Job) -> float:
    """Train for the warm-up and a round of one iteration, and return the peak in GB."""
    with job:
        job.warm_up(0.0)
        job.run_round()
        return float(job.rounds[0]["memory"]) / 1e9


if __name__ == "__main__":
    run("memory", main)
