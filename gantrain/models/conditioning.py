"""How networks get the class of an image.

Two forms: `concat` (Mirza and Osindero 2014, and the CGAN of *Generative Deep Learning*) and
`projection` (Miyato and Koyama 2018, "cGANs with projection discriminator").

Everywhere, classes are either int64 (N,), an index each, or float (N, K), a weight for each of the
K classes: between two one-hot rows lie mixtures of two classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.common.transfer import to_device
from gantrain.config import ConditioningConfig
from gantrain.config.values import Norm

NO_CLASSES: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Conditioning:
    """What two networks know of classes.

    class_counts: number of training images of each class by its key, in the order of the indices.
    join_latents: whether G gets one-hot vectors beside the latents with `projection` too.
    pool_features: whether D's projection is of its features' sums over the pixels.
    """

    kind: Literal["none", "concat", "projection"] = "none"
    class_counts: Mapping[str, int] = field(default_factory=dict)
    join_latents: bool = False
    pool_features: bool = True

    @property
    def class_names(self) -> tuple[str, ...]:
        """The key of each class, by its index."""
        return tuple(self.class_counts)

    def latent_inputs(self, norm: Norm) -> int:
        """Return how many inputs G has beside the latents. norm: G's normalisation."""
        joined = self.kind == "concat" or self.join_latents or norm == "none"
        return len(self.class_counts) if joined else 0

    @property
    def planes(self) -> int:
        """How many planes D gets beside the image."""
        return len(self.class_counts) if self.kind == "concat" else 0

    @property
    def projected(self) -> int:
        """For how many classes the normalisations of G, and D's last layer, have weights."""
        return len(self.class_counts) if self.kind == "projection" else 0

    def draw(self, rng: PositionalRNG, stream: Stream, *, evenly: bool = False) -> Tensor | None:
        """Return a random class for each position, int64 (rng.count,), where `rng` draws.

        As often as in the training images; evenly: each equally often. None without conditioning.
        """
        if not self.class_counts:
            return None
        counts = tuple(1 if evenly else count for count in self.class_counts.values())
        uniform = rng.uniform(stream, 1)[:, 0]
        drawn = uniform * sum(counts)
        return torch.searchsorted(_ends(counts, uniform.device), drawn, right=True)

    def by_row(self, rows: int, columns: int) -> Tensor | None:
        """Return the classes of a grid with a class a row, int64 (rows * columns,), on the CPU.

        With more classes than rows, the rows are spread over them; with fewer, they start again.
        None without conditioning.
        """
        count = len(self.class_counts)
        if not count:
            return None
        row = torch.arange(rows)
        of_row = row * count // rows if count > rows else row % count
        return of_row.repeat_interleave(columns)

    def row_names(self, rows: int) -> list[str]:
        """Return the keys of the classes of the rows of such a grid; empty without conditioning."""
        classes = self.by_row(rows, 1)
        return [] if classes is None else [self.class_names[i] for i in classes.tolist()]

    def caption(self, rows: int) -> str:
        """Return a line that says the classes of such a grid; empty without conditioning."""
        names = self.row_names(rows)
        return f"rows from the top: {', '.join(names)}" if names else ""


@lru_cache(maxsize=16)
def _ends(counts: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the sums of the counts up to each class, float64 (K,)."""
    ends = torch.tensor(counts, dtype=torch.float64).cumsum(0)
    return ends if device.type == "cpu" else to_device(ends, device)


UNCONDITIONAL = Conditioning()


def make_conditioning(config: ConditioningConfig, class_counts: Mapping[str, int]) -> Conditioning:
    """Return what a run's networks know of the classes of its data set."""
    if not config.active:
        return UNCONDITIONAL
    return Conditioning(config.kind, class_counts, config.join_latents, config.pool_features)


class ClassAware(nn.Module):
    """A layer whose forward gets the classes as well, float (N, K)."""


class Layers(nn.Sequential):
    """Layers in sequence, of which the class-aware ones get the classes."""

    def forward(self, maps: Tensor, classes: Tensor | None = None) -> Tensor:
        for layer in self:
            passes_on = isinstance(layer, ClassAware | Layers)
            maps = layer(maps, classes) if passes_on else layer(maps)
        return maps


class ConditionalNorm(ClassAware):
    """A normalisation whose gain and bias are those of the image's class (Dumoulin et al. 2017).

    norm: normalises maps (N, width, H, W), without a gain and a bias of its own.
    """

    def __init__(self, norm: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.norm = norm
        self.gain = nn.Parameter(torch.ones(classes, width))
        self.bias = nn.Parameter(torch.zeros(classes, width))

    def forward(self, maps: Tensor, classes: Tensor) -> Tensor:
        normalised = self.norm(maps)
        # In float32, as the gain of any other normalisation.
        with torch.autocast(maps.device.type, enabled=False):
            gain, bias = classes @ self.gain, classes @ self.bias
        gain, bias = (x.to(normalised.dtype)[:, :, None, None] for x in (gain, bias))
        return torch.addcmul(bias, normalised, gain)


class ProjectionHead(ClassAware):
    """D's last layer: its score of the features plus the inner product of features and class.

    score: maps features (N, width, H, W) or (N, width) to (N, 1) or (N, 1, 1, 1).
    width: of the features.
    pixels: H W, for an inner product with the features of every pixel; None: with their sums.
    """

    def __init__(
        self, score: nn.Module, width: int, classes: int, pixels: int | None = None
    ) -> None:
        super().__init__()
        self.score = score
        self.embedding = nn.Linear(classes, width * (pixels or 1), bias=False)
        self._pool = pixels is None

    def forward(self, features: Tensor, classes: Tensor) -> Tensor:
        vectors = features.flatten(1)
        if self._pool and features.ndim > 2:
            vectors = features.flatten(2).sum(2)
        score: Tensor = self.score(features).flatten(1)
        products: Tensor = self.embedding(classes) * vectors
        return score + products.sum(1, keepdim=True)


def class_weights(classes: Tensor, count: int) -> Tensor:
    """Return classes in the form (N, count), float32, from either form."""
    if classes.ndim == 2:
        return classes.float()
    weights: Tensor = functional.one_hot(classes, count)
    return weights.float()


def with_planes(images: Tensor, classes: Tensor) -> Tensor:
    """Return images (N, C, S, S) with a constant plane for each column of classes (N, K)."""
    planes = classes.to(images.dtype)[:, :, None, None].expand(-1, -1, *images.shape[2:])
    return torch.cat([images, planes], 1)
