"""Fail if our training is clearly slower than the plain PyTorch loop: `python -m benchmarks.guard`.

For CI. Measures the smallest cell of benchmarks/train.py, where everything but the convolutions
weighs most, and prints the ratio. Fails only if nearly all pairs of rounds agree by a clear margin,
and a second measurement agrees too.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.errors import run
from benchmarks.images import generate_images
from benchmarks.table import speeds_of
from benchmarks.train import Cell, cell_settings, run_cell

CLEARLY_SLOWER = 0.9
_ATTEMPTS = 2


def main() -> None:
    """Measure, print the ratio, and exit with status 1 if ours is clearly slower."""
    argparse.ArgumentParser(description=__doc__).parse_args()  # for --help: it has no options
    options = argparse.Namespace(
        precision=["fp32"],
        implementations=["plain", "ours"],
        book_python=None,
        size=64,
        warmup=10,
        rounds=9,
        seconds=1.0,
        set=[],
    )
    with tempfile.TemporaryDirectory() as scratch:
        shards, files = generate_images(Path(scratch), options.size)
        for _ in range(_ATTEMPTS):
            jobs = list(cell_settings(options, Cell("dcgan", 16, 32, 1), shards, files))
            result = {"implementations": run_cell(options, jobs, Path(scratch))}
            ours, plain = (speeds_of(result, f"{name} fp32") for name in ("ours", "plain"))
            ratios = [a / b for a, b in zip(ours, plain, strict=True)]
            print(
                f"DCGAN, width 16, batch 32, fp32: ours {statistics.median(ours):,.0f} images/s, "
                f"plain PyTorch {statistics.median(plain):,.0f}; ratio of pairs "
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )
            if not clearly_slower(ratios):
                return
    sys.exit(f"Ours is slower than the plain loop by more than {1 - CLEARLY_SLOWER:.0%}.")


def clearly_slower(ratios: list[float]) -> bool:
    """Whether the median is below the margin and all pairs but at most one are below 1."""
    return statistics.median(ratios) < CLEARLY_SLOWER and sum(ratio >= 1 for ratio in ratios) <= 1


if __name__ == "__main__":
    run("guard", main)
