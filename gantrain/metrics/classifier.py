"""A small classifier of a data set's own classes: features for metrics, and classes of images."""

import itertools
import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from gantrain.common.rng import Stream, derive_seed
from gantrain.data.loading.datasets import scaled
from gantrain.data.loading.image_table import TRAIN, VALIDATION, ImageTable

logger = logging.getLogger(__name__)

WIDTH = 128  # number of features
_MAX_INPUT_SIZE = 64  # pixels a side; larger images are averaged down
_BATCH_SIZE = 128
_EPOCHS = 4
_MIN_IMAGES_SEEN, _MAX_IMAGES_SEEN = 60_000, 200_000
_LEARNING_RATE = 3e-3
_MAX_SHIFT = 2  # pixels, of the random translations in training
_INFERENCE_BATCH_SIZE = 256


class Classifier(nn.Module):
    """A convolutional classifier of images (N, C, S, S) in [-1, 1], S a power of 2 and at least 8.

    Returns logits (N, classes); `features` returns the features before the last layer.
    """

    def __init__(self, size: int, channels: int, classes: int) -> None:
        super().__init__()
        steps = int(np.log2(min(size, _MAX_INPUT_SIZE) // 4))
        widths = [channels, *(max(WIDTH >> (steps - 1 - i), 16) for i in range(steps))]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.LeakyReLU(0.2, inplace=True)]
        self.shrink = max(size // _MAX_INPUT_SIZE, 1)
        self.layers = nn.Sequential(*layers)
        self.mix = nn.Sequential(nn.Conv2d(widths[-1], WIDTH, 4), nn.LeakyReLU(0.2))
        self.head = nn.Linear(WIDTH, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return float32 features (N, 128)."""
        x = avg_pool2d(images, self.shrink) if self.shrink > 1 else images
        features: Tensor = self.mix(self.layers(x)).flatten(1)
        return features

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier and its accuracy.

    classes: the class of each logit.
    accuracy: fraction of the held-out images that are classified correctly; NaN without any.
    held_out: number of labelled held-out images.
    """

    network: Classifier
    classes: tuple[str, ...]
    accuracy: float
    held_out: int

    @property
    def description(self) -> str:
        """The number of classes and the accuracy, for display."""
        name = f"a classifier of the data set's {len(self.classes)} classes"
        if not self.held_out:
            return f"{name}; its accuracy is unknown, since no images are held out"
        return f"{name}, {self.accuracy:.1%} accurate on {self.held_out:,} held-out images"


def train_classifier(images: Tensor, table: ImageTable) -> TrainedClassifier:
    """Train a classifier on all labelled images of the split "train"; the same one every time.

    images: uint8 (N, C, S, S), in the order of the table.

    The accuracy is that on the labelled images of the split "validation".
    """
    classes = tuple(name for name in table.class_names if name)
    label_of_class = [classes.index(name) if name else -1 for name in table.class_names]
    labels = np.array(label_of_class)[table.class_index]
    training = np.flatnonzero((table.state == TRAIN) & (labels >= 0))
    held_out = np.flatnonzero((table.state == VALIDATION) & (labels >= 0))
    start = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, Stream.CLASSIFIER))
        network = Classifier(images.shape[-1], images.shape[1], len(classes))
        _fit(network, images, torch.from_numpy(labels), torch.from_numpy(training))
    network.eval().requires_grad_(False)
    accuracy = _accuracy(network, images, torch.from_numpy(labels), held_out)
    trained = TrainedClassifier(network, classes, accuracy, len(held_out))
    logger.info(f"trained in {time.monotonic() - start:.0f} s: {trained.description}")
    return trained


def _fit(network: Classifier, images: Tensor, labels: Tensor, rows: Tensor) -> None:
    images_seen = int(np.clip(_EPOCHS * len(rows), _MIN_IMAGES_SEEN, _MAX_IMAGES_SEEN))
    optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, weight_decay=1e-3)
    steps = images_seen // _BATCH_SIZE
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    order = torch.cat([torch.randperm(len(rows)) for _ in range(images_seen // len(rows) + 1)])
    for step in range(steps):
        batch = rows[order[step * _BATCH_SIZE : (step + 1) * _BATCH_SIZE]]
        # Translate by a pixel or two: the class must not depend on the location in the image.
        shift = [int(n) for n in torch.randint(-_MAX_SHIFT, _MAX_SHIFT + 1, (2,))]
        x = torch.roll(scaled(images[batch]), shift, (2, 3))
        loss = cross_entropy(network(x), labels[batch], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


@torch.no_grad()
def _accuracy(
    network: Classifier, images: Tensor, labels: Tensor, rows: NDArray[np.int64]
) -> float:
    if not len(rows):
        return float("nan")
    correct = 0
    for index in torch.split(torch.from_numpy(rows), _INFERENCE_BATCH_SIZE):
        correct += int((network(scaled(images[index])).argmax(1) == labels[index]).sum())
    return correct / len(rows)
