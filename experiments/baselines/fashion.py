"""GANs of Fashion-MNIST, measured: `python -m experiments baselines fashion`.

Imports the data, trains the missing runs, measures their samples and writes the table and the
samples of docs/baselines.md. The data are those of Debian's package dataset-fashion-mnist (Xiao et
al. 2017): 60,000 training and 10,000 test images of ten kinds of clothing, grey, 28x28.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from experiments.baselines.classification import Labelled, classify, train_and_test
from experiments.baselines.modes import count_modes
from experiments.baselines.plan import FASHION, Baseline, BaselineRun
from experiments.baselines.results import baseline_parser, cost_columns, publish
from experiments.baselines.ruler import Lite0Ruler
from experiments.baselines.train import train_missing
from experiments.fashion import PACKAGE, import_fashion
from experiments.tables import format_median_and_range, markdown_table
from experiments.values import Values, remember
from gantrain.common.logs import configure_logging
from gantrain.common.rng import PositionalRNG
from gantrain.config import DataConfig
from gantrain.data.loading.labelled import open_labelled_dataset
from gantrain.data.loading.opening import open_dataset
from gantrain.data.loading.selection import held_out_rows
from gantrain.inference.export import load_generator
from gantrain.metrics.classifier_store import prepare_classifier
from gantrain.metrics.evaluator import generate_images

CLASSES = 10
DISTANCE_SAMPLES = 5000  # images of each side for FID and KID
TRAINING_SAMPLES = 10_000  # generated or real images that a classifier is trained on

_LATENT_SEED = 0
# The measured columns of the table, and what they are multiplied by.
_COLUMNS = {"fid": 1, "kid": 1, "rarest": 100, "commonest": 100, "score": 100}


def main(arguments: Sequence[str]) -> None:
    """Import, train, measure and write the table."""
    description = "Train GANs on Fashion-MNIST and measure them."
    publish_fashion(FASHION, arguments, description, fashion_table)


def publish_fashion(
    baseline: Baseline,
    arguments: Sequence[str],
    description: str,
    table_of: Callable[[Path], str],
) -> None:
    """Run the command that imports Fashion-MNIST, trains a baseline on it and writes its table.

    arguments: of the command. description: what its help says. table_of: measures the runs in a
        folder.
    """
    parser = baseline_parser(baseline, description)
    parser.add_argument(
        "--source", type=Path, default=PACKAGE, help="folder with the four IDX files"
    )
    options = parser.parse_args(arguments)
    configure_logging(0)
    import_fashion(options.out / "data", options.source)
    train_missing(baseline, options.out)
    publish(baseline, table_of(options.out), options)


def fashion_table(out: Path) -> str:
    """Measure the trained runs in `out`, as far as that is missing, and format the results."""
    real = remember(out / "real.json", lambda: _measure_real(out))
    rows = [
        real_row("other training images", real, "floor", "10", "10", ""),
        real_row("test images", real, "held_out", "10", "10", f"{100 * real['score']:.3g}"),
    ]
    for arm in FASHION.arms:
        runs = FASHION.runs_of(arm)
        values = [_measured(run, out) for run in runs]
        cells = [
            format_median_and_range([scale * x[name] for x in values])
            for name, scale in _COLUMNS.items()
        ]
        rows.append([arm, *cost_columns(FASHION, out, runs), *cells])
    header = ["", "seeds", "kimg", "core-minutes per run", "FID (lite0)", "KID (lite0)"]
    header += ["rarest class, %", "commonest class, %", "classification accuracy score, %"]
    summary = (
        f"FID and KID of {DISTANCE_SAMPLES:,} images; class shares and accuracy score of "
        f"{TRAINING_SAMPLES:,}. The classifier that names classes is {real['accuracy']:.1%} "
        "accurate on the 10,000 test images."
    )
    return markdown_table(header, rows) + "\n\n" + summary


def real_row(name: str, real: Values, prefix: str, *others: str) -> list[str]:
    """Return the row of real images. prefix: of their values. others: cells after FID and KID."""
    distances = [f"{real[f'{prefix}_fid']:.3g}", f"{real[f'{prefix}_kid']:.2g}"]
    return [name, "", "", "", *distances, *others]


def _measured(run: BaselineRun, out: Path) -> Values:
    return remember(out / run.name / "measured.json", lambda: _measure(run, out))


def _measure(run: BaselineRun, out: Path) -> Values:
    """Measure the EMA generator of a run."""
    generator = load_generator(out / run.name)
    images = generate_images(generator, _LATENT_SEED, max(DISTANCE_SAMPLES, TRAINING_SAMPLES))
    generated = images[:TRAINING_SAMPLES].numpy()
    labels = classify(prepare_classifier(data_config(out)), generated)
    shares = np.bincount(labels, minlength=CLASSES) / len(labels)
    return {
        **fashion_ruler(out).measure(images[:DISTANCE_SAMPLES]),
        "rarest": float(shares.min()),
        "commonest": float(shares.max()),
        "divergence": count_modes(labels, CLASSES).divergence,
        "score": _accuracy_score(Labelled(generated, labels), out),
    }


def _measure_real(out: Path) -> Values:
    """Measure real images, the classifier that names classes, and one trained on as many images."""
    training, _ = _real_images(out)
    rows = np.random.default_rng(0).permutation(len(training))[:TRAINING_SAMPLES]
    subset = Labelled(training.images[rows], training.labels[rows])
    return {**measure_real_images(out), "score": _accuracy_score(subset, out)}


def measure_real_images(out: Path) -> Values:
    """Return FID and KID of other training images and of test images, and the accuracy of names.

    `floor_…`, `held_out_…`, and `accuracy`, that of the classifier on the test images.
    """
    others = open_dataset(data_config(out)).images(
        PositionalRNG(0, DISTANCE_SAMPLES, DISTANCE_SAMPLES)
    )
    test = torch.from_numpy(_real_images(out)[1].images[:DISTANCE_SAMPLES])
    return {
        **{f"floor_{name}": value for name, value in fashion_ruler(out).measure(others).items()},
        **{f"held_out_{name}": value for name, value in fashion_ruler(out).measure(test).items()},
        "accuracy": prepare_classifier(data_config(out)).test.accuracy,
    }


@cache
def fashion_ruler(out: Path) -> Lite0Ruler:
    """Return the ruler of Fashion-MNIST, whose data are in `out`."""
    return Lite0Ruler(open_dataset(data_config(out)), DISTANCE_SAMPLES)


def _accuracy_score(training: Labelled, out: Path) -> float:
    """Return the accuracy on the test images of a classifier trained on `training`.

    The classification accuracy score of Ravuri and Vinyals 2019, except that the labels of
    generated images are those that the classifier of real images gives them.
    """
    return train_and_test(training, _real_images(out)[1], CLASSES).test.accuracy


def _real_images(out: Path) -> tuple[Labelled, Labelled]:
    """Return the 60,000 training images and the 10,000 test images."""
    config = data_config(out)
    dataset = open_labelled_dataset(config)
    labels = dataset.cache.table.class_index  # its classes are sorted: "0" to "9"
    training, test = (
        Labelled(dataset.images.numpy()[rows], labels[rows])
        for rows in (dataset.rows, held_out_rows(dataset.cache.table, config))
    )
    return training, test


def data_config(out: Path) -> DataConfig:
    """Return the config of Fashion-MNIST, whose data are in `out`."""
    return DataConfig.model_validate(FASHION.runs()[0].config(out)["data"])
