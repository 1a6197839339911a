"""Small classifiers, trained on real or generated images and tested on real ones."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gantrain.data.loading.image_table import TRAIN, VALIDATION, ImageTable
from gantrain.metrics.classifier import TrainedClassifier, train_classifier
from gantrain.metrics.small_networks import in_batches


@dataclass(frozen=True)
class Labelled:
    """Images with labels.

    images: uint8 (N, C, S, S). labels: int64 (N,), from 0 on.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


def train_and_test(training: Labelled, test: Labelled, classes: int) -> TrainedClassifier:
    """Train gantrain's classifier of 0 to `classes` - 1; its accuracy is that on `test`.

    Equal images give equal classifiers on equal machines.
    """
    labels = np.concatenate([training.labels, test.labels])
    table = ImageTable(
        class_names=tuple(str(label) for label in range(classes)),
        class_index=labels,
        view=np.full(len(labels), -1.0),
        state=np.repeat([TRAIN, VALIDATION], [len(training), len(test)]),
    )
    images = torch.from_numpy(np.concatenate([training.images, test.images]))
    return train_classifier(images, table)


def classify(trained: TrainedClassifier, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the most probable class of images uint8 (N, C, S, S), int64 (N,)."""
    logits = in_batches(torch.from_numpy(images), trained.network)
    labels: NDArray[np.int64] = logits.argmax(1).numpy()
    return labels
