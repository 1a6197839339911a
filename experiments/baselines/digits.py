"""Modes that GANs cover of stacked digits: `python -m experiments baselines digits`.

Trains the missing runs, counts the modes of their samples with a digit classifier and writes the
table and the samples of docs/baselines.md.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.baselines.classification import classify, train_and_test
from experiments.baselines.digits_data import MODES, modes_of, read_digits, stack, write_stacks
from experiments.baselines.modes import count_modes
from experiments.baselines.plan import DIGITS, Baseline
from experiments.baselines.results import baseline_parser, cost_columns, publish
from experiments.baselines.train import train_missing
from experiments.tables import format_median_and_range, markdown_table
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
    count_modes_of(DIGITS, arguments, "Count the modes that GANs cover of stacked digits.")


def count_modes_of(baseline: Baseline, arguments: Sequence[str], description: str) -> None:
    """Run the command that trains a baseline on stacked digits and counts modes.

    arguments: of the command. description: what its help says.
    """
    options = baseline_parser(baseline, description).parse_args(arguments)
    configure_logging(0)
    write_stacks(options.out / "data")
    train_missing(baseline, options.out)
    publish(baseline, digits_table(options.out, baseline), options)


def digits_table(out: Path, baseline: Baseline = DIGITS) -> str:
    """Measure the trained runs in `out`, as far as that is missing, and format the results."""
    real = remember(out / "real.json", _measure_real)
    rows = []
    for arm in baseline.arms:
        runs = baseline.runs_of(arm)
        values = [_measured(out / run.name) for run in runs]
        covered, divergence = (
            format_median_and_range([x[name] for x in values], digits)
            for name, digits in (("covered", 4), ("divergence", 3))
        )
        rows.append([arm, *cost_columns(baseline, out, runs), covered, divergence])
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
