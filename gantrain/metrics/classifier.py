"""A small classifier of the set's own parts: features that know bricks, and names for images."""

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

WIDTH = 128  # of the features
_LARGEST = 64  # pixels a side that the network looks at
_BATCH = 128
_EPOCHS = 4
_FEWEST, _MOST = 60_000, 200_000  # images seen in all
_RATE = 3e-3
_AT_ONCE = 256  # images in one forward pass without gradients


class Classifier(nn.Module):
    """Images (N, C, S, S) in [-1, 1], S a power of 2 from 8, to features (N, 128) and logits.

    Larger images than 64x64 are averaged down to it.
    """

    def __init__(self, size: int, channels: int, parts: int) -> None:
        super().__init__()
        steps = int(np.log2(min(size, _LARGEST) // 4))
        widths = [channels, *(max(WIDTH >> (steps - 1 - i), 16) for i in range(steps))]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.LeakyReLU(0.2, inplace=True)]
        self.shrink = max(size // _LARGEST, 1)
        self.layers = nn.Sequential(*layers)
        self.mix = nn.Sequential(nn.Conv2d(widths[-1], WIDTH, 4), nn.LeakyReLU(0.2))
        self.head = nn.Linear(WIDTH, parts)

    def features(self, images: Tensor) -> Tensor:
        """Float32 (N, 128)."""
        x = avg_pool2d(images, self.shrink) if self.shrink > 1 else images
        features: Tensor = self.mix(self.layers(x)).flatten(1)
        return features

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


@dataclass(frozen=True)
class Trained:
    """A classifier and how good it is.

    accuracy: share of held-out images whose part it names; NaN if none are held out.
    held_out: how many those are.
    """

    network: Classifier
    parts: tuple[str, ...]
    accuracy: float
    held_out: int

    @property
    def description(self) -> str:
        """For people."""
        of = f"a classifier of the set's {len(self.parts)} parts"
        if not self.held_out:
            return f"{of}; no images are held out to say how good it is"
        return f"{of}, right on {self.accuracy:.1%} of {self.held_out:,} held-out images"


def train_classifier(images: Tensor, table: ImageTable) -> Trained:
    """Train on all labelled images of the split "train", always alike.

    images: uint8 (N, C, S, S). The split "validation" is what the accuracy is measured on.
    """
    parts = tuple(name for name in table.class_names if name)
    code = np.array([parts.index(name) if name else -1 for name in table.class_names])[
        table.class_index
    ]
    labels = torch.from_numpy(code)
    mine = np.flatnonzero((table.state == TRAIN) & (code >= 0))
    held_out = np.flatnonzero((table.state == VALIDATION) & (code >= 0))
    began = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, Stream.CLASSIFIER))
        network = Classifier(images.shape[-1], images.shape[1], len(parts))
        _fit(network, images, labels, torch.from_numpy(mine))
    network.eval().requires_grad_(False)
    accuracy = _accuracy(network, images, labels, held_out)
    trained = Trained(network, parts, accuracy, len(held_out))
    logger.info(f"learnt in {time.monotonic() - began:.0f} s: {trained.description}")
    return trained


def _fit(network: Classifier, images: Tensor, labels: Tensor, rows: Tensor) -> None:
    seen = int(np.clip(_EPOCHS * len(rows), _FEWEST, _MOST))
    optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=1e-3)
    steps = seen // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    order = torch.cat([torch.randperm(len(rows)) for _ in range(seen // len(rows) + 1)])
    for step in range(steps):
        batch = rows[order[step * _BATCH : (step + 1) * _BATCH]]
        # A pixel or two of shift: what is to be told apart are parts, not places.
        shift = [int(n) for n in torch.randint(-2, 3, (2,))]
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
    right = 0
    for index in torch.split(torch.from_numpy(rows), _AT_ONCE):
        right += int((network(scaled(images[index])).argmax(1) == labels[index]).sum())
    return right / len(rows)
