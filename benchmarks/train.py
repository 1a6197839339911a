"""Images/s and memory of whole GAN trainings, data included: ours, plain PyTorch's, the book's.

    python -m benchmarks.train --objective dcgan --width 32 --batch 128 --out train.json
    python -m benchmarks.train --book-python bookenv/bin/python --out train.json
    python -m benchmarks.train --set training.updates=joint --out joint.json
    python -m benchmarks.train --markdown train.json more.json
    python -m benchmarks.train --rooms --width 64 --batch 128

Every contender is a process of its own (one a rank) that builds everything, warms up and waits.
Then they train by turns, one at a time, in rounds of some seconds, so that a change in the
machine's load meets all alike; ratios are medians of the ratios of rounds beside one another, and ±
is half the distance between the quartiles. Both precisions take turns too; ask for one at a time
where there is not the memory for all contenders at once. Images are real images that D has seen,
over all ranks. Memory is the most that the training processes held, without DataLoader's workers.

All train the networks of configs/dcgan.yaml or configs/wgan_gp.yaml at the width and batch asked
for, on the same images, each with its usual pipeline and losses. Ours has everything that a run
has by default, except that the quality metrics are off: --rooms says what those cost. The plain
loops and the book compute the penalty of WGAN-GP in the precision of everything else, ours always
in fp32. Of what --set changes, the others follow networks, rates and n_critic, and know no more.
"""

import argparse
import itertools
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.images import generate_images
from benchmarks.parent import Contender, ContenderError, take_turns
from benchmarks.rooms import measure_rooms
from benchmarks.settings import Settings
from benchmarks.table import cell_lines, markdown_lines, summary_lines
from gantrain.config import load_config

CONTENDERS = ("plain", "book", "ours")
_CONFIGS = Path(__file__).parent.parent / "configs"
_FILES = {"dcgan": "dcgan.yaml", "wgan-gp": "wgan_gp.yaml"}


@dataclass(frozen=True)
class Cell:
    """What all contenders have in common."""

    objective: str
    width: int
    batch: int
    ranks: int


def main() -> None:
    """Measure and print, or print what was measured."""
    options = read_options()
    if options.markdown:
        files = [json.loads(path.read_text(encoding="utf-8")) for path in options.markdown]
        print(
            "\n".join(markdown_lines([sitting for file in files for sitting in file["sittings"]]))
        )
        return
    # Raises SystemExit where the benchmark stands, so that its contenders are ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with ExitStack() as stack:
        scratch = options.scratch
        if scratch is None:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            measure(options, scratch.absolute())
        except ContenderError as error:
            sys.exit(f"A contender ended before its time:\n{error}")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    several: dict[str, Any] = {"nargs": "+"}
    parser.add_argument("--objective", choices=_FILES, default=[*_FILES], **several)
    parser.add_argument("--width", type=int, default=[16, 32, 64], **several)
    parser.add_argument("--batch", type=int, default=[32, 128, 512], **several)
    parser.add_argument("--ranks", type=int, choices=(1, 2), default=[1, 2], **several)
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default=["fp32", "bf16"], **several
    )
    parser.add_argument("--contenders", choices=CONTENDERS, default=[*CONTENDERS], **several)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="in our config")
    parser.add_argument("--size", type=int, choices=(32, 64), default=64, help="of the images")
    parser.add_argument("--rounds", type=int, default=7, help="of each contender")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a round, about")
    parser.add_argument("--warmup", type=int, default=4, help="iterations before the first round")
    parser.add_argument("--book-python", help="a Python with benchmarks/requirements-book.txt")
    parser.add_argument("--rooms", action="store_true", help="what ours does beside the steps")
    parser.add_argument("--scratch", type=Path, help="folder for images and runs, kept")
    parser.add_argument("--out", type=Path, help="JSON file with every round")
    parser.add_argument("--markdown", type=Path, nargs="+", metavar="JSON", help="print a table")
    return parser.parse_args()


def measure(options: argparse.Namespace, scratch: Path) -> None:
    """All cells that were asked for; the JSON file is complete after each of them."""
    shards, files = generate_images(scratch, options.size)
    sittings: list[dict[str, Any]] = []
    cells = itertools.product(options.objective, options.width, options.batch, options.ranks)
    for cell in itertools.starmap(Cell, cells):
        if options.rooms:
            for precision in options.precision:
                made = settings_of(options, cell, "ours", precision, shards, files)
                print(f"{cell.objective}, width {cell.width}, batch {cell.batch}, ", end="")
                print(f"{cell.ranks} rank(s), {precision}:")
                measure_rooms(made, options.rounds, options.seconds, scratch)
            continue
        with tempfile.TemporaryDirectory(dir=scratch, prefix="cell-") as folder:
            chosen = list(contenders_of(options, cell, shards, files))
            rounds = sit_together(options, chosen, Path(folder))
        changed = " ".join(options.set)
        sitting = {**vars(cell), "size": options.size, "set": changed, "contenders": rounds}
        sittings.append(sitting)
        print("\n".join(cell_lines(sitting)), flush=True)
        if options.out:
            content = {"machine": machine(), "sittings": sittings}
            options.out.write_text(json.dumps(content, indent=1), encoding="utf-8")
    if not options.rooms:
        print("\n".join(summary_lines(sittings)))


def contenders_of(
    options: argparse.Namespace, cell: Cell, shards: Path, files: Path
) -> Iterator[tuple[str, str, Settings]]:
    """Name, Python and settings of each contender of a cell that can be run."""
    for precision, contender in itertools.product(options.precision, options.contenders):
        python = sys.executable
        if contender == "book":
            if options.book_python is None or cell.ranks > 1:
                continue
            python = str(Path(options.book_python).absolute())
        made = settings_of(options, cell, contender, precision, shards, files)
        yield f"{contender} {precision}", python, made


def settings_of(
    options: argparse.Namespace,
    cell: Cell,
    contender: str,
    precision: str,
    shards: Path,
    files: Path,
) -> Settings:
    cores = len(os.sched_getaffinity(0))
    threads = cores if cell.ranks == 1 else max(cores // cell.ranks, 1)
    overrides = [
        f"data.shards={shards}",
        f"data.cache_dir={shards.parent / 'cache'}",
        f"data.size={options.size}",
        f"generator.width={cell.width}",
        f"discriminator.width={cell.width}",
        f"training.batch_size={cell.batch}",
        f"training.world_size={cell.ranks}",
        f"training.cpu_threads={threads}",
        "training.device=cpu",
        f"training.mixed_precision={'bf16' if precision == 'bf16' else 'no'}",
        "training.total_kimg=1.0e+9",
        "metrics.every_kimg=0",
        "guard.hang_seconds=0",  # a contender that waits for its turn is not stuck
    ]
    config = load_config(_CONFIGS / _FILES[cell.objective], [*overrides, *options.set])
    return Settings(
        contender=contender,
        precision=precision,
        ranks=cell.ranks,
        batch=cell.batch,
        files=str(files),
        shards=str(shards),
        config=config.model_dump(mode="json"),
        warmup=options.warmup,
        threads=threads,
    )


def sit_together(
    options: argparse.Namespace, chosen: list[tuple[str, str, Settings]], folder: Path
) -> dict[str, dict[str, Any]]:
    """Start the contenders of a cell one after the other, let them take turns; their rounds."""
    with ExitStack() as stack:
        contenders = []
        for name, python, settings in chosen:
            contender = stack.enter_context(Contender(name, settings, python, folder))
            contender.get_ready(options.seconds)
            contenders.append(contender)
        take_turns(contenders, options.rounds)
        return {
            c.name: {"library": c.library, "iterations": c.iterations, "rounds": c.rounds}
            for c in contenders
        }


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {"cpu": models[0] if models else "", "cores": len(os.sched_getaffinity(0))}


if __name__ == "__main__":
    main()
