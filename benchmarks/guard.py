"""Is a training of ours still faster than the plain PyTorch loop? `python -m benchmarks.guard`.

For CI: the smallest cell of benchmarks/train.py, where all that is not a convolution weighs most.
It prints the ratio, and fails only where nearly all pairs of rounds say so, by a clear margin, and
when they are repeated too.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.images import generate_images
from benchmarks.table import speeds
from benchmarks.train import Cell, contenders_of, sit_together

CLEARLY_SLOWER = 0.9
_ATTEMPTS = 2


def main() -> None:
    """Measure, print, and exit with 1 where ours is clearly slower."""
    options = argparse.Namespace(
        precision=["fp32"],
        contenders=["plain", "ours"],
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
            chosen = list(contenders_of(options, Cell("dcgan", 16, 32, 1), shards, files))
            made = sit_together(options, chosen, Path(scratch))
            ours, plain = (speeds({"contenders": made}, f"{c} fp32") for c in ("ours", "plain"))
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
    """Whether the median is below the margin, and all but one of the pairs are below 1."""
    return statistics.median(ratios) < CLEARLY_SLOWER and sum(ratio >= 1 for ratio in ratios) <= 1


if __name__ == "__main__":
    main()
