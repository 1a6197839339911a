"""Residual networks and class conditioning on Fashion-MNIST: `… experiments baselines classes`.

Imports the data, trains the missing runs, measures their samples and writes the table and the
samples of docs/baselines.md.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats
from torch import Tensor

from experiments.baselines.classification import classify
from experiments.baselines.fashion import (
    DISTANCE_SAMPLES,
    data_config,
    fashion_ruler,
    measure_real_images,
    publish_fashion,
    real_row,
)
from experiments.baselines.plan import CLASS_PAIRS, CLASSES, Baseline, Pairs
from experiments.baselines.results import cost_columns
from experiments.tables import format_median_and_range, markdown_table
from experiments.values import Values, remember
from gantrain.common.statistics import Interval
from gantrain.inference.export import load_generator
from gantrain.metrics.by_class import Labels
from gantrain.metrics.classifier_store import prepare_classifier
from gantrain.metrics.evaluator import generate_images
from gantrain.models.networks import Generator

_LATENT_SEED = 0


def main(arguments: Sequence[str]) -> None:
    """Import, train, measure and write the table."""
    description = "Train residual and class-conditional GANs on Fashion-MNIST and measure them."
    publish_fashion(CLASSES, arguments, description, classes_table)


def classes_table(out: Path, baseline: Baseline = CLASSES, compared: Pairs = CLASS_PAIRS) -> str:
    """Measure the trained runs in `out`, as far as that is missing, and format the results.

    compared: arms by how much the FID falls from the first to the second.
    """
    real = remember(out / "real.json", lambda: measure_real_images(out))
    rows = [
        real_row("other training images", real, "floor", ""),
        real_row("test images", real, "held_out", f"{100 * real['accuracy']:.3g}"),
    ]
    measured = {
        arm: [_measured(out / run.name, out) for run in baseline.runs_of(arm)]
        for arm in baseline.arms
    }
    for arm, values in measured.items():
        cells = [format_median_and_range([x[name] for x in values]) for name in ("fid", "kid")]
        accuracies = [100 * x["class_accuracy"] for x in values if "class_accuracy" in x]
        cells.append(format_median_and_range(accuracies) if accuracies else "")
        rows.append([arm, *cost_columns(baseline, out, baseline.runs_of(arm)), *cells])
    header = ["", "seeds", "kimg", "core-minutes per run", "FID (lite0)", "KID (lite0)"]
    header.append("of the class asked for, %")
    fids = {arm: [x["fid"] for x in values] for arm, values in measured.items()}
    comparisons = [[one, other, *_reduction(fids[one], fids[other])] for one, other in compared]
    return "\n\n".join(
        [
            markdown_table(header, rows),
            f"FID, KID and classes of {DISTANCE_SAMPLES:,} images each.",
            markdown_table(["from", "to", "FID falls by", "95% interval"], comparisons),
        ]
    )


def _reduction(before: Sequence[float], after: Sequence[float]) -> tuple[str, str]:
    fall = f"{1 - float(np.median(after)) / float(np.median(before)):.0%}"
    if min(len(before), len(after)) < 2:
        return fall, "-"
    low, high = reduction_interval(before, after)
    return fall, f"{low:.0%} to {high:.0%}"


def reduction_interval(before: Sequence[float], after: Sequence[float]) -> Interval:
    """Return the 95% interval of 1 - after / before, of the geometric means of positive values.

    Welch's t-interval of the difference of the means of the logarithms.
    """
    ratio = stats.ttest_ind(np.log(after), np.log(before), equal_var=False).confidence_interval()
    return 1 - float(np.exp(ratio.high)), 1 - float(np.exp(ratio.low))


def _measured(run_dir: Path, out: Path) -> Values:
    return remember(run_dir / "measured.json", lambda: _measure(run_dir, out))


def _measure(run_dir: Path, out: Path) -> Values:
    """Measure the EMA generator of a run; with conditioning, whether its classes are right."""
    images, asked = images_and_classes(load_generator(run_dir), DISTANCE_SAMPLES)
    values: Values = fashion_ruler(out).measure(images)
    if asked is not None:
        named = classify(prepare_classifier(data_config(out)), images.numpy())
        values["class_accuracy"] = float((named == asked.numpy()).mean())
    return values


def images_and_classes(generator: Generator, count: int) -> tuple[Tensor, Tensor | None]:
    """Return generated images, uint8 (count, C, S, S), and the classes that were asked for.

    Classes are int64 (count,), as frequent as in the data; None without conditioning.
    """
    asked = Labels.asked_for(generator, _LATENT_SEED, count)
    images = generate_images(generator, _LATENT_SEED, count)
    return images, None if asked is None else asked.index
