"""Modes that GANs cover of stacked digits: `python -m experiments baselines digits`.

Trains the missing runs, counts the modes of their samples with a digit classifier and writes the
table and the samples of docs/baselines.md.
"""

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.baselines.classification import classify, train_and_test
from experiments.baselines.digits_data import MODES, modes_of, read_digits, stack, write_stacks
from experiments.baselines.modes import count_modes
from experiments.baselines.plan import DIGITS, KINDS
from experiments.baselines.results import cost_columns, save_samples
from experiments.baselines.train import train_missing
from experiments.tables import format_median_and_range, markdown_table, update_tables
from experiments.values import Values, remember
from gantrain.common.logs import configure_logging
from gantrain.inference.export import load_generator
from gantrain.metrics.classifier import TrainedClassifier
from gantrain.metrics.evaluator import generate_images

SAMPLES = 26_000
_REAL_SEED = 1  # of the held-out digits that are stacked
_LATENT_SEED = 0


def main(arguments: Sequence[str]) -> None:
    """Train, measure and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments baselines digits",
        description="Count the modes that GANs cover of stacked digits.",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/baselines/digits"), help="folder of the runs"
    )
    parser.add_argument(
        "--document", type=Path, default=Path("docs/baselines.md"), help="document to update"
    )
    options = parser.parse_args(arguments)
    configure_logging(0)
    write_stacks(options.out / "data")
    train_missing(DIGITS, options.out)
    update_tables(options.document, {"digits": digits_table(options.out)})
    for kind in KINDS:
        path = options.document.parent / "baselines" / f"digits-{kind}.png"
        save_samples(options.out / f"{kind}-{DIGITS.seeds[0]}", path)


def digits_table(out: Path) -> str:
    """Measure the trained runs in `out`, as far as that is missing, and format the results."""
    real = remember(out / "real.json", _measure_real)
    rows = []
    for kind in KINDS:
        runs = [run for run in DIGITS.runs() if run.kind == kind]
        values = [_measured(out / run.name) for run in runs]
        covered, divergence = (
            format_median_and_range([x[name] for x in values], digits)
            for name, digits in (("covered", 4), ("divergence", 3))
        )
        rows.append([kind, *cost_columns(DIGITS, out, runs), covered, divergence])
    held_out = ["held-out digits", "", "", "", f"{real['covered']:g}", f"{real['divergence']:.3g}"]
    header = ["", "seeds", "kimg", "core-minutes per run", "modes of 1,000", "KL"]
    summary = (
        f"{SAMPLES:,} images each; the digit classifier is {real['accuracy']:.1%} accurate on the "
        "1,000 held-out digits."
    )
    return markdown_table(header, [held_out, *rows]) + "\n\n" + summary


def _measured(run_dir: Path) -> Values:
    def measure() -> Values:
        images = generate_images(load_generator(run_dir), _LATENT_SEED, SAMPLES)
        return _count(images.numpy())

    return remember(run_dir / "modes.json", measure)


def _measure_real() -> Values:
    """Count the modes of held-out digits, as of a perfect generator."""
    _, held_out = read_digits()
    images, _ = stack(held_out, SAMPLES, _REAL_SEED)
    return {**_count(images), "accuracy": _counter().test.accuracy}


def _count(images: NDArray[np.uint8]) -> Values:
    """Count the modes of images uint8 (N, 3, 32, 32), as the digit classifier sees them."""
    channels = images.reshape(-1, 1, *images.shape[2:])
    return vars(count_modes(modes_of(classify(_counter(), channels).reshape(-1, 3)), MODES))


@cache
def _counter() -> TrainedClassifier:
    return train_and_test(*read_digits(), classes=10)
