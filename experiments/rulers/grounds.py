"""The sets of real images on which rulers are tested."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gantrain.config import DataConfig
from gantrain.data.loading.image_table import TRAIN, VALIDATION
from gantrain.data.loading.opening import open_dataset

# Parts that look the same from all sides, so that all their images are copies of a few. No ruler
# that sees the copies as equal can take a shifted image for one of them.
ROUND_PARTS = ("3062", "3062b", "4589")


@dataclass(frozen=True)
class Ground:
    """Real images in random order, and their classes as numbers, int64 (N,).

    reference, classes: uint8 (N, C, S, S), what a generator's images are compared with.
    others, other_classes: as many other images as there are fakes, which are damaged.
    unseen, unseen_classes: held-out images, to classify by their neighbours; may be empty.
    varied: whether an image of `others` is of a class with more than a few distinct images, bool.
    """

    name: str
    reference: Tensor
    classes: Tensor
    others: Tensor
    other_classes: Tensor
    unseen: Tensor
    unseen_classes: Tensor
    varied: Tensor

    def only_varied(self) -> "Ground":
        """Return the ground with the varied ones of the other images."""
        return replace(
            self, others=self.others[self.varied], other_classes=self.other_classes[self.varied]
        )


def load_ground(config: DataConfig, samples: int, references: int) -> Ground:
    """Load disjoint random parts of a data set's training images, and held-out ones if it has any.

    samples: number of images in the place of fakes. references: number to compare with, at most.
    """
    cache = open_dataset(config).decoded
    assert cache is not None
    table = cache.table
    rng = np.random.default_rng(0)
    training = rng.permutation(np.flatnonzero(table.state == TRAIN))
    unseen = rng.permutation(np.flatnonzero(table.state == VALIDATION))[:samples]
    fakes, rest = training[:samples], training[samples:][:references]
    names = [str(name) for name in table.class_names]
    used = [name for name in sorted(set(names)) if name]
    number = torch.tensor([used.index(name) if name else -1 for name in names])
    classes = number[torch.from_numpy(table.class_index.astype(np.int64))]
    is_round = torch.tensor([name.split()[0] in ROUND_PARTS for name in used])

    def part(rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(rows)
        return cache.images[index], classes[index]

    return Ground(
        Path(config.shards).name,
        *part(rest),
        *part(fakes),
        *part(unseen),
        varied=~is_round[classes[torch.from_numpy(fakes)]],
    )
