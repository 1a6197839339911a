"""A small classifier of a data set's own classes: features for metrics, and classes of images."""

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gantrain.common.rng import Stream, derive_seed
from gantrain.data.loading.datasets import scaled
from gantrain.data.loading.image_table import TRAIN, VALIDATION, ImageTable
from gantrain.metrics.image_statistics import downsample
from gantrain.metrics.neighbours import (
    NEIGHBOURS,
    expected_coverage,
    precision_recall_density_coverage,
)
from gantrain.metrics.small_networks import halving_layers, moved_at_random

logger = logging.getLogger(__name__)

WIDTH = 128  # number of features
_MAX_INPUT_SIZE = 64  # pixels a side; larger images are averaged down
_BATCH_SIZE = 128
_EPOCHS = 4
_MIN_IMAGES_SEEN, _MAX_IMAGES_SEEN = 60_000, 200_000
_LEARNING_RATE = 3e-3
_MAX_SHIFT = 2  # pixels, of the random translations in training
_INFERENCE_BATCH_SIZE = 256
_MIN_TO_SPLIT = 5  # images of a class, of which one is held out
_MAX_COMPARED = 1000  # training images, and held-out images, whose features are compared
MIN_RECALL = 0.5  # on held-out images, of a class that counts


class Classifier(nn.Module):
    """A convolutional classifier of images (N, C, S, S) in [-1, 1], S a multiple of 8.

    Returns logits (N, classes); `features` returns the features before the last layer.
    """

    def __init__(self, size: int, channels: int, classes: int) -> None:
        super().__init__()
        size = min(size, _MAX_INPUT_SIZE)
        steps = int(np.log2(size // 4))
        widths = [channels, *(max(WIDTH >> (steps - 1 - i), 16) for i in range(steps))]
        self.layers = halving_layers(widths)
        self.mix = nn.Sequential(nn.Conv2d(widths[-1], WIDTH, size >> steps), nn.LeakyReLU(0.2))
        self.head = nn.Linear(WIDTH, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return float32 features (N, 128)."""
        features: Tensor = self.mix(self.layers(downsample(images, _MAX_INPUT_SIZE))).flatten(1)
        return features

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


@dataclass(frozen=True)
class HeldOutTest:
    """How a classifier does on labelled images that it was not trained on.

    images: number of these images; without any, all other numbers are NaN.
    accuracy: fraction that is classified correctly.
    recalls: the same for each class; NaN for a class without held-out images.
    confidence: probability of the most probable class that nine tenths of the images reach.
    unknown: fraction of which it is less confident, or that it takes for a class with a recall
        below 0.5.
    coverage: coverage of training images by these in its features, divided by what it is expected
        to be for two samples of one distribution: below 1 where it has learnt its training images
        by heart.
    """

    images: int
    accuracy: float
    recalls: tuple[float, ...]
    confidence: float
    unknown: float
    coverage: float


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier and its quality.

    classes: the class of each logit.
    """

    network: Classifier
    classes: tuple[str, ...]
    test: HeldOutTest

    @property
    def description(self) -> str:
        """The number of classes and the accuracy, for display."""
        name = f"a classifier of the data set's {len(self.classes)} classes"
        if not self.test.images:
            return f"{name}; its accuracy is unknown, since there are too few images to hold out"
        return f"{name}, {self.test.accuracy:.1%} accurate on {self.test.images:,} held-out images"


def train_classifier(images: Tensor, table: ImageTable) -> TrainedClassifier:
    """Train a classifier on the labelled images of the split "train"; the same one every time.

    images: uint8 (N, C, S, S), in the order of the table.

    It is tested on the labelled images of the split "validation", or without any on a random tenth
    of each class, which it is not trained on.
    """
    classes = tuple(name for name in table.class_names if name)
    label_of_class = [classes.index(name) if name else -1 for name in table.class_names]
    labels = np.array(label_of_class)[table.class_index]
    training, held_out = split_rows(labels, table.state)
    start = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, Stream.CLASSIFIER))
        network = Classifier(images.shape[-1], images.shape[1], len(classes))
        _fit(network, images, torch.from_numpy(labels), torch.from_numpy(training))
    network.eval().requires_grad_(False)
    test = _test(network, images, labels, training, held_out, len(classes))
    trained = TrainedClassifier(network, classes, test)
    logger.info(f"trained in {time.monotonic() - start:.0f} s: {trained.description}")
    return trained


def split_rows(
    labels: NDArray[np.int64], state: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to train a classifier on, and those to test it on, ascending.

    labels: (N,), -1 for images without one. state: (N,), as in ImageTable.
    """
    training = np.flatnonzero((state == TRAIN) & (labels >= 0))
    held_out = np.flatnonzero((state == VALIDATION) & (labels >= 0))
    if len(held_out):
        return training, held_out
    random = np.random.default_rng(derive_seed(0, Stream.CLASSIFIER))
    chosen = []
    for label in np.unique(labels[training]):
        rows = random.permutation(training[labels[training] == label])
        if len(rows) >= _MIN_TO_SPLIT:
            chosen.append(rows[: max(len(rows) // 10, 1)])
    held_out = np.sort(np.concatenate(chosen)) if chosen else held_out
    return np.setdiff1d(training, held_out), held_out


def _fit(network: Classifier, images: Tensor, labels: Tensor, rows: Tensor) -> None:
    images_seen = int(np.clip(_EPOCHS * len(rows), _MIN_IMAGES_SEEN, _MAX_IMAGES_SEEN))
    optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, weight_decay=1e-3)
    steps = images_seen // _BATCH_SIZE
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    order = torch.cat([torch.randperm(len(rows)) for _ in range(images_seen // len(rows) + 1)])
    for step in range(steps):
        batch = rows[order[step * _BATCH_SIZE : (step + 1) * _BATCH_SIZE]]
        # Translate by a pixel or two: the class must not depend on the location in the image.
        x = moved_at_random(scaled(images[batch]), _MAX_SHIFT)
        loss = cross_entropy(network(x), labels[batch], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def _test(
    network: Classifier,
    images: Tensor,
    labels: NDArray[np.int64],
    training: NDArray[np.int64],
    held_out: NDArray[np.int64],
    classes: int,
) -> HeldOutTest:
    if not len(held_out):
        nan = float("nan")
        return HeldOutTest(0, nan, (nan,) * classes, nan, nan, nan)
    features, logits = _describe(network, images, held_out)
    confidence, predicted = logits.double().softmax(1).max(1)
    truth = torch.from_numpy(labels[held_out])
    right = (predicted == truth).double()
    recalls = torch.stack([right[truth == label].mean() for label in range(classes)])
    threshold = float(torch.quantile(confidence, 0.1))
    known = (confidence >= threshold) & (recalls >= MIN_RECALL)[predicted]
    return HeldOutTest(
        images=len(held_out),
        accuracy=float(right.mean()),
        recalls=tuple(recalls.tolist()),
        confidence=threshold,
        # Neither 0 nor 1, since a divergence divides by it.
        unknown=(len(held_out) - int(known.sum()) + 1) / (len(held_out) + 2),
        coverage=_relative_coverage(network, images, training, features),
    )


def _relative_coverage(
    network: Classifier, images: Tensor, training: NDArray[np.int64], held_out: Tensor
) -> float:
    random = np.random.default_rng(derive_seed(0, Stream.CLASSIFIER))
    rows = random.permutation(training)[:_MAX_COMPARED]
    real, fake = _describe(network, images, rows)[0], held_out[random.permutation(len(held_out))]
    fake = fake[:_MAX_COMPARED]
    if min(len(real), len(fake)) <= NEIGHBOURS:
        return float("nan")
    coverage = precision_recall_density_coverage(real, fake)["coverage"]
    return coverage / expected_coverage(len(real), len(fake))


@torch.no_grad()
def _describe(
    network: Classifier, images: Tensor, rows: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    batches = torch.split(torch.from_numpy(rows), _INFERENCE_BATCH_SIZE)
    features = torch.cat([network.features(scaled(images[batch])) for batch in batches])
    return features, network.head(features)
