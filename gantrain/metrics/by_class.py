"""The metrics of generators that make images of a given class, with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.common.statistics import Interval
from gantrain.metrics.intervals import REPLICATES, fraction_interval, symmetric_interval
from gantrain.models.networks import Generator

MIN_IMAGES_OF_CLASS = 4  # generated, and real ones, so that halves of them have a spread too
_MAX_REAL = 5000  # thumbnails of real images
_SAME = 0.01  # of the spread of all real images; a class with less is the same image everywhere


@dataclass(frozen=True)
class Labels:
    """The class of each of some images.

    names: key of each class. index: int64 (N,), on the CPU.
    """

    names: tuple[str, ...]
    index: Tensor

    @classmethod
    def asked_for(cls, generator: Generator, seed: int, count: int) -> Self | None:
        """Return the classes of the images that `generate_images` makes; None without classes."""
        rng = PositionalRNG(seed, 0, count)
        index = generator.conditioning.draw(rng, Stream.METRICS_CLASSES)
        return None if index is None else cls(generator.conditioning.class_names, index)


@dataclass(frozen=True)
class ClassScore:
    """What is measured of the generated images of one class; NaN what is not.

    images: how many there are.
    accuracy, diversity: as `class_accuracy` and `class_diversity`, of this class alone.
    """

    images: int
    accuracy: float
    diversity: float


def class_hits(logits: Tensor, classes: Sequence[str], labels: Labels) -> Tensor:
    """Return whether a classifier sees in each image the class that it was made for, bool (N,).

    logits: (N, K), of the images. classes: the class of each logit. Only the classes in
    `labels.names` count: the generator knows no others. The share of hits is the "GAN-test" of
    Shmelkov et al. 2018.
    """
    logits = logits.cpu()
    place = {name: i for i, name in enumerate(classes)}
    columns = torch.tensor([place.get(name, -1) for name in labels.names])
    found = logits[:, columns.clamp_min(0)].masked_fill(columns < 0, -torch.inf)
    return found.argmax(1) == labels.index


def accuracies(hits: Tensor, labels: Labels) -> Tensor:
    """Return the share of hits of each class, float64 (K,); NaN for a class without images."""
    count = len(labels.names)
    return _sums(hits.double(), labels.index, count) / _counts(labels.index, count)


def accuracy_interval(hits: Tensor) -> tuple[float, Interval]:
    """Return the share of hits, and its interval."""
    value = float(hits.double().mean())
    return value, fraction_interval(value, len(hits))


@dataclass(frozen=True)
class Diversity:
    """Spread within each class, of generated images relative to real ones.

    of_class: float64 (K,), NaN for a class that does not count.
    """

    of_class: Tensor
    interval: Interval

    @property
    def mean(self) -> float:
        """The mean over the classes that count, in which none counts for more than 1."""
        return _capped_mean(self.of_class)


def class_diversity(real: Tensor, real_index: Tensor, fake: Tensor, labels: Labels) -> Diversity:
    """Return the root of the mean squared difference of two generated images of a class, relative
    to that of two real ones, for each class.

    real, fake: thumbnails, float32 (N, d) and (M, d). real_index: class of each real one.

    A class counts if there are four images of either kind, and if its real images are not the same
    in effect: if their mean squared difference is a hundredth of that of all real images or more.
    The mean takes no class for more than 1, so that a class that varies too much does not make up
    for one that does not vary.
    """
    count = len(labels.names)
    real, real_index = real[:_MAX_REAL], real_index[:_MAX_REAL]
    y, x = spread_within(fake, labels.index, count), spread_within(real, real_index, count)
    everything = spread_within(real, torch.zeros_like(real_index), 1)
    enough = torch.minimum(_counts(labels.index, count), _counts(real_index, count))
    counted = (enough >= MIN_IMAGES_OF_CLASS) & (x >= _SAME * everything) & (x > 0)

    def relative(fake_spread: Tensor, real_spread: Tensor) -> Tensor:
        ratio = (fake_spread / real_spread.clamp_min(1e-18)).sqrt()
        return ratio.masked_fill(~counted, torch.nan)

    of_class = relative(y, x)
    halves = []
    for replicate in range(REPLICATES):
        random = np.random.default_rng(replicate)
        rows, columns = (halves_of_classes(z, random) for z in (real_index, labels.index))
        half = relative(
            spread_within(fake[columns], labels.index[columns], count),
            spread_within(real[rows], real_index[rows], count),
        )
        halves.append(_capped_mean(half))
    low, high = symmetric_interval(_capped_mean(of_class), halves, 0.0)
    return Diversity(of_class, (low, min(high, 1.0)))


def spread_within(vectors: Tensor, index: Tensor, classes: int) -> Tensor:
    """Return the mean squared difference of two vectors (N, d) of a class, float64 (classes,).

    It is twice the variance, without bias. NaN for a class with fewer than two.
    """
    counts = _counts(index, classes)
    means = _sums(vectors.double(), index, classes) / counts[:, None]
    squares = (vectors.double() - means[index]).square().mean(1)
    found = 2 * _sums(squares, index, classes) / (counts - 1)
    return found.masked_fill(counts < 2, torch.nan)


def halves_of_classes(index: Tensor, random: np.random.Generator) -> NDArray[np.int64]:
    """Return the rows of a random half of the images of each class, drawn without replacement."""
    shuffled = random.permutation(len(index))
    classes = index.numpy()[shuffled]
    order = np.argsort(classes, kind="stable")
    sizes = np.bincount(classes)
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen: NDArray[np.int64] = shuffled[order[place < np.repeat((sizes + 1) // 2, sizes)]]
    return chosen


def _capped_mean(of_class: Tensor) -> float:
    return float(of_class.clamp_max(1).nanmean())


def _counts(index: Tensor, classes: int) -> Tensor:
    return torch.bincount(index, minlength=classes).double()


def _sums(rows: Tensor, index: Tensor, classes: int) -> Tensor:
    return rows.new_zeros(classes, *rows.shape[1:]).index_add_(0, index, rows)
