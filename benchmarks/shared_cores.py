"""Measure what training loses to other processes on its cores: ours, plain PyTorch, the book's.

    python -m benchmarks.shared_cores --book-python bookenv/bin/python --busy 0 1 2 --ranks 1 2

Beside the implementations run as many busy processes as --busy says, each a loop that always wants
a core, from before the first start to the end. Ours runs with 1, 2, … threads and with
`training.cpu_threads=auto`, whose trial is then made under the same load; plain and the book's with
as many threads as their users get: all cores, or their part of them for each rank. All train in
interleaved rounds, as in `benchmarks.train`. The last columns are the speed of `auto` relative to
the best fixed number, and to the book's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.errors import run
from benchmarks.images import generate_images
from benchmarks.jobs import Job, JobError, run_interleaved
from benchmarks.settings import CONFIG_FILES, Settings
from benchmarks.train import Cell, job_settings
from gantrain.common.pools import usable_cores
from gantrain.training.fastest_threads import candidates

AUTO = "auto"


def main() -> None:
    """Print a Markdown row for each number of busy processes and of ranks."""
    options = _read_options()
    print(f"load before: {os.getloadavg()[0]:.1f}")
    print("| busy | ranks | plain | book | ours, by threads | auto | auto/best | auto/book |")
    print("|---" * 8 + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        scratch = options.scratch or Path(folder)
        shards, files = generate_images(scratch.absolute(), options.size)
        for ranks in options.ranks:
            for busy in options.busy:
                settings = dict(implementations(options, ranks, shards, files))
                with busy_processes(busy), tempfile.TemporaryDirectory(dir=scratch) as runs:
                    try:
                        speeds = measure(options, settings, Path(runs))
                    except JobError as error:
                        sys.exit(f"A training process ended too early:\n{error}")
                print(row(busy, ranks, speeds), flush=True)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ranks", type=int, nargs="+", choices=(1, 2), default=[1, 2])
    parser.add_argument("--objective", choices=CONFIG_FILES, default="dcgan")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32, help="global batch size")
    parser.add_argument("--size", type=int, choices=(32, 64), default=64, help="image size")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="approximate time of a round")
    parser.add_argument("--warmup", type=int, default=2, help="iterations before the first round")
    parser.add_argument("--book-python", type=Path, help="Python with requirements-book.txt")
    parser.add_argument("--scratch", type=Path, help="folder for images and runs, which is kept")
    options = parser.parse_args()
    options.set = []
    return options


def implementations(
    options: argparse.Namespace, ranks: int, shards: Path, files: Path
) -> Iterator[tuple[str, Settings]]:
    """Yield the name and the settings of everything that is measured with so many ranks."""
    cell = Cell(options.objective, options.width, options.batch, ranks)

    def settings_of(implementation: str) -> Settings:
        return job_settings(options, cell, implementation, options.precision, shards, files)

    yield "plain", settings_of("plain")
    if options.book_python and ranks == 1:
        yield "book", replace(settings_of("book"), threads=0)
    ours = settings_of("ours")
    for threads in candidates(max(usable_cores() // ranks, 1)):
        yield (
            str(threads),
            replace(ours, threads=threads).with_config(training={"cpu_threads": threads}),
        )
    # "once": where rounds alternate, iterations take longer than they do for a user.
    yield AUTO, replace(ours, threads=0).with_config(training={"cpu_threads": "once"})


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep `count` processes busy while the block runs."""
    with ExitStack() as stack:
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def measure(
    options: argparse.Namespace, settings: dict[str, Settings], folder: Path
) -> dict[str, list[float]]:
    """Return the images/s of each round by the names of `implementations`."""
    with ExitStack() as stack:
        jobs = []
        for name, each in settings.items():
            python = str(options.book_python.absolute()) if name == "book" else sys.executable
            job = stack.enter_context(Job(name, each, python, folder))
            job.warm_up(options.seconds)
            jobs.append(job)
        run_interleaved(jobs, options.rounds)
        return {job.name: [r["images"] / r["seconds"] for r in job.rounds] for job in jobs}


def row(busy: int, ranks: int, speeds: dict[str, list[float]]) -> str:
    """Return a row of the table: medians of images/s, and ratios of medians."""
    medians = {name: statistics.median(each) for name, each in speeds.items()}
    fixed = {name: speed for name, speed in medians.items() if name.isdecimal()}
    auto = medians[AUTO]
    book = f"{medians['book']:,.0f}" if "book" in medians else "not run"
    relative = f"{auto / medians['book']:.2f}" if "book" in medians else "-"
    by_threads = ", ".join(f"{name}: {speed:,.0f}" for name, speed in fixed.items())
    return (
        f"| {busy} | {ranks} | {medians['plain']:,.0f} | {book} | {by_threads} | {auto:,.0f} | "
        f"{auto / max(fixed.values()):.2f} | {relative} |"
    )


if __name__ == "__main__":
    run("shared_cores", main)
