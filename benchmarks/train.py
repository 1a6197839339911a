"""Measure images/s and memory of complete GAN trainings: ours, plain PyTorch, the book's Keras.

    python -m benchmarks.train --objective dcgan --width 32 --batch 128 --out train.json
    python -m benchmarks.train --book-python bookenv/bin/python --out train.json
    python -m benchmarks.train --objective hinge rpgan --out more.json
    python -m benchmarks.train --set training.updates=joint --out joint.json
    python -m benchmarks.train --markdown train.json more.json
    python -m benchmarks.train --overhead --width 64 --batch 128

Each implementation runs in its own processes, one for each rank, which build everything, warm up
and wait. Then they train one at a time in interleaved rounds of a few seconds, so that a change in
the load of the machine affects all of them alike. A ratio is the median over pairs of adjacent
rounds; ± is half the interquartile range. Both precisions are interleaved too; request one at a
time if there is not enough memory for all processes at once. Images are real images that D has
seen, over all ranks. Memory is the peak of the training processes, without DataLoader workers.

All train the networks of configs/dcgan.yaml, wgan_gp.yaml, sngan.yaml (hinge) or rpgan.yaml at the
requested width and batch, on the same images, each with its usual pipeline and losses. The book has
no hinge and no rpgan. Ours includes all the services that a run has by default, except for the
quality metrics; --overhead measures what those cost. All compute gradient penalties in the
precision of everything else. Of the keys given to --set, the other implementations follow those for
networks, learning rates and n_critic only.

--out is rewritten after every round, so that a benchmark that is ended leaves what it has measured.
--minutes divides a time over the cells: what does not fit, rounds first, is left out and named.
"""

import argparse
import itertools
import json
import math
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.errors import run
from benchmarks.images import generate_images
from benchmarks.jobs import NO_LIMIT, Job, JobError, TimeLimit, run_interleaved
from benchmarks.overhead import measure_overhead
from benchmarks.settings import BOOK_OBJECTIVES, CONFIG_FILES, ENDLESS, Settings
from benchmarks.table import IMPLEMENTATIONS, cell_lines, markdown_lines, summary_lines
from gantrain.common.files import write_json
from gantrain.common.machine import processor_model
from gantrain.common.pools import affinity
from gantrain.common.text import counted
from gantrain.config import load_config

Rounds = dict[str, dict[str, Any]]  # of each job: its library, iterations and rounds


@dataclass(frozen=True)
class Cell:
    """The settings that all implementations share. batch: global batch size."""

    objective: str
    width: int
    batch: int
    ranks: int


def main() -> None:
    """Measure and print, or print earlier results as Markdown."""
    options = _read_options()
    if options.markdown:
        files = [json.loads(path.read_text(encoding="utf-8")) for path in options.markdown]
        print("\n".join(markdown_lines([cell for file in files for cell in file["cells"]])))
        return
    # Raise SystemExit wherever the benchmark is, so that the jobs are ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with ExitStack() as stack:
        scratch = options.scratch
        if scratch is None:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            measure(options, scratch.absolute())
        except JobError as error:
            sys.exit(f"A training process ended too early:\n{error}")


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    several: dict[str, Any] = {"nargs": "+"}
    parser.add_argument(
        "--objective",
        choices=CONFIG_FILES,
        default=[*BOOK_OBJECTIVES],
        help="hinge and rpgan have no book implementation (default: dcgan wgan-gp)",
        **several,
    )
    parser.add_argument("--width", type=int, default=[16, 32, 64], **several)
    parser.add_argument(
        "--batch", type=int, default=[32, 128, 512], help="global batch size", **several
    )
    parser.add_argument("--ranks", type=int, choices=(1, 2), default=[1, 2], **several)
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default=["fp32", "bf16"], **several
    )
    parser.add_argument(
        "--implementations", choices=IMPLEMENTATIONS, default=[*IMPLEMENTATIONS], **several
    )
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides of our config"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="not for the book")
    parser.add_argument("--size", type=int, choices=(32, 64), default=64, help="image size")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each implementation")
    parser.add_argument("--seconds", type=float, default=10.0, help="approximate time of a round")
    parser.add_argument("--warmup", type=int, default=4, help="iterations before the first round")
    parser.add_argument("--minutes", type=float, default=math.inf, help="for all cells together")
    parser.add_argument("--threads", type=int, help="CPU threads of each rank (default: its cores)")
    parser.add_argument("--book-python", help="Python with benchmarks/requirements-book.txt")
    parser.add_argument(
        "--overhead", action="store_true", help="measure what ours spends outside the steps instead"
    )
    parser.add_argument("--scratch", type=Path, help="folder for images and runs, which is kept")
    parser.add_argument("--out", type=Path, help="JSON file for the results of every round")
    parser.add_argument(
        "--markdown", type=Path, nargs="+", metavar="JSON", help="print tables of earlier results"
    )
    return parser.parse_args()


def measure(options: argparse.Namespace, scratch: Path) -> None:
    """Measure all requested cells, rewriting the JSON file after each round of them."""
    deadline = time.monotonic() + 60 * options.minutes
    shards, files = generate_images(scratch, options.size)
    results: list[dict[str, Any]] = []

    def record(result: dict[str, Any], rounds: Rounds) -> None:
        result["implementations"] = rounds
        if options.out:
            machine = describe_machine(options.device)
            write_json(options.out, {"machine": machine, "cells": results}, durable=False)

    product = itertools.product(options.objective, options.width, options.batch, options.ranks)
    cells = list(itertools.starmap(Cell, product))
    for number, cell in enumerate(cells):
        if options.overhead:
            for precision in options.precision:
                settings = job_settings(options, cell, "ours", precision, shards, files)
                print(f"{cell.objective}, width {cell.width}, batch {cell.batch}, ", end="")
                print(f"{cell.ranks} rank(s), {precision}:")
                measure_overhead(settings, options.rounds, options.seconds, scratch)
            continue
        if time.monotonic() > deadline:
            print(f"left out for lack of time: {cell}", file=sys.stderr, flush=True)
            continue
        result: dict[str, Any] = {**vars(cell), "size": options.size, "set": " ".join(options.set)}
        results.append(result)
        record(result, {})
        limit = TimeLimit.share(deadline, len(cells) - number)
        with tempfile.TemporaryDirectory(dir=scratch, prefix="cell-") as folder:
            jobs = list(cell_settings(options, cell, shards, files))
            run_cell(options, jobs, Path(folder), limit, partial(record, result))
        print("\n".join(cell_lines(result)), flush=True)
    if not options.overhead:
        print("\n".join(summary_lines(results)))


def cell_settings(
    options: argparse.Namespace, cell: Cell, shards: Path, files: Path
) -> Iterator[tuple[str, str, Settings]]:
    """Yield the name, Python and settings of each implementation that can run in a cell."""
    for precision, implementation in itertools.product(options.precision, options.implementations):
        python = sys.executable
        if implementation == "book":
            able = cell.objective in BOOK_OBJECTIVES and cell.ranks == 1
            if options.book_python is None or not able or _device(options) != "cpu":
                continue
            python = str(Path(options.book_python).absolute())
        settings = job_settings(options, cell, implementation, precision, shards, files)
        yield f"{implementation} {precision}", python, settings


def _device(options: argparse.Namespace) -> str:
    return getattr(options, "device", "cpu")  # other benchmarks have no choice


def job_settings(
    options: argparse.Namespace,
    cell: Cell,
    implementation: str,
    precision: str,
    shards: Path,
    files: Path,
) -> Settings:
    """Return the settings of one implementation.

    Uses size, device, threads, set and warmup of the options.
    """
    threads = getattr(options, "threads", None) or max(len(affinity()) // cell.ranks, 1)
    overrides = [
        f"data.shards={shards}",
        f"data.cache_dir={shards.parent / 'cache'}",
        f"data.size={options.size}",
        f"generator.width={cell.width}",
        f"discriminator.width={cell.width}",
        f"training.batch_size={cell.batch}",
        f"training.world_size={cell.ranks}",
        f"training.cpu_threads={threads}",
        f"training.device={_device(options)}",
        f"training.mixed_precision={'bf16' if precision == 'bf16' else 'no'}",
        *ENDLESS,
    ]
    config = load_config(CONFIG_FILES[cell.objective], [*overrides, *options.set])
    return Settings(
        implementation=implementation,
        precision=precision,
        ranks=cell.ranks,
        batch=cell.batch,
        files=str(files),
        shards=str(shards),
        config=config.model_dump(mode="json"),
        warmup=options.warmup,
        threads=threads,
        device=_device(options),
    )


def run_cell(
    options: argparse.Namespace,
    settings_by_job: list[tuple[str, str, Settings]],
    folder: Path,
    limit: TimeLimit = NO_LIMIT,
    record: Callable[[Rounds], object] = lambda rounds: None,
) -> Rounds:
    """Start the jobs of a cell one after the other, interleave their rounds, return the rounds.

    limit: half of it is for rounds, so that no job of another precision starts after the first
        half. There is at least one round of one job.
    record: called with the rounds so far, after each round of all jobs.
    """
    with ExitStack() as stack:
        jobs: list[Job] = []
        for name, python, settings in settings_by_job:
            another = settings.precision not in {job.settings.precision for job in jobs}
            if jobs and (limit.is_over_in(0.0) or (another and limit.half_is_over())):
                print(f"left out for lack of time: {name}", file=sys.stderr, flush=True)
                continue
            job = stack.enter_context(Job(name, settings, python, folder))
            job.warm_up(options.seconds)
            jobs.append(job)
            iterations = counted(job.iterations, "iteration")
            print(f"  {name}: {iterations} a round", file=sys.stderr, flush=True)
        run_interleaved(jobs, options.rounds, limit, lambda: record(_rounds_of(jobs)))
        return _rounds_of(jobs)


def _rounds_of(jobs: list[Job]) -> Rounds:
    return {
        job.name: {"library": job.library, "iterations": job.iterations, "rounds": job.rounds}
        for job in jobs
    }


def describe_machine(device: str) -> dict[str, Any]:
    """Return the model of the CPU, the number of usable cores, and the device."""
    return {"cpu": processor_model(), "cores": len(affinity()), "device": device}


if __name__ == "__main__":
    run("train", main)
