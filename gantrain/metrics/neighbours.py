"""Metrics of nearest neighbours, in features and among thumbnails."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from gantrain.common.errors import UserError

NEIGHBOURS = 5  # k of precision, recall, density and coverage

_ROUNDING = 1e-5
_COMPARED_HELD_OUT = 10  # held-out images that a generated one is compared with
_ROWS_AT_ONCE = 512  # rows of a distance matrix against many training images


@dataclass(frozen=True)
class Distances:
    """Distances within the real features (N, N), within the fakes (M, M) and across (N, M)."""

    real: Tensor
    fake: Tensor
    across: Tensor

    @classmethod
    def of(cls, real: Tensor, fake: Tensor) -> Self:
        """Return the distances of features (N, D) and (M, D), float64."""
        x, y = real.double(), fake.double()
        return cls(pairwise_distances(x, x), pairwise_distances(y, y), pairwise_distances(x, y))

    def subset(self, rows: Tensor, columns: Tensor) -> Self:
        """Return the distances of some real images and some fakes only."""
        return type(self)(
            self.real[rows][:, rows], self.fake[columns][:, columns], self.across[rows][:, columns]
        )

    def in_single_precision(self) -> Self:
        """Return the distances in float32."""
        return type(self)(self.real.float(), self.fake.float(), self.across.float())

    def metrics(self, k: int = NEIGHBOURS) -> dict[str, float]:
        """Return what `precision_recall_density_coverage` returns for these images."""
        # The nearest neighbour of each row is itself.
        real_radius, fake_radius = (d.kthvalue(k + 1, dim=1).values for d in (self.real, self.fake))
        in_real = self.across <= real_radius[:, None]
        in_fake = self.across <= fake_radius[None, :]
        return {
            "precision": _fraction(in_real.any(0)),
            "recall": _fraction(in_fake.any(1)),
            "density": in_real.sum().item() / (k * in_real.shape[1]),
            "coverage": _fraction(in_real.any(1)),
        }


def precision_recall_density_coverage(
    real: Tensor, fake: Tensor, k: int = NEIGHBOURS
) -> dict[str, float]:
    """Return precision, recall, density and coverage of features (N, D) and (M, D).

    The ball of an image reaches its k-th nearest neighbour in its own set, edge included.

    precision: fraction of the fakes inside the ball of a real image; recall: fraction of the real
        images inside the ball of a fake (Kynkäänniemi et al. 2019, section 2).
    density: mean number of real balls that contain a fake, divided by k; may exceed 1. coverage:
        fraction of the real balls that contain a fake (Naeem et al. 2020, section 3).

    Raises UserError unless both sets have more than k images.
    """
    fewer = min(len(real), len(fake))
    if fewer <= k:
        raise UserError(
            f"metrics.samples: {fewer} images; expected more than {k}, the number "
            "of neighbours that precision and recall use."
        )
    return Distances.of(real, fake).metrics(k)


def expected_coverage(real: int, fake: int, k: int = NEIGHBOURS) -> float:
    """Return the mean coverage of `fake` images from the same distribution as `real` ones.

    A real ball is empty if the k nearest of the other real - 1 + fake images are all real, which
    are as likely to be any k of them: 1 - ∏ (real - 1 - i) / (real - 1 + fake - i) over i < k, for
    every distribution without ties (Naeem et al. 2020, lemma 2). Near 1 - 2⁻ᵏ for equal numbers.
    """
    others = real - 1
    return 1 - math.prod((others - i) / (others + fake - i) for i in range(k))


def pairwise_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the Euclidean distances (N, M) of rows (N, D) and (M, D), exactly 0 for equal rows."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def nearest_rows(queries: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for each query (N, D), the distance to the nearest of `rows` (M, D) and its index."""
    indices = []
    squares = rows.square().sum(1)
    for batch in torch.split(queries, _ROWS_AT_ONCE):
        indices.append((squares - 2 * batch @ rows.T).argmin(1))
    index = torch.cat(indices)
    # The search cancels digits of close rows, so the distance is computed again from the rows.
    return (queries - rows[index]).square().sum(1).sqrt(), index


def nearest_ratio(fake: Tensor, held_out: Tensor) -> float:
    """Return how much further generated images are from the training images than real ones are.

    fake, held_out: distances (N,) and (M,) of generated and of held-out images to the nearest
        training image, at least 0.

    It is the ratio of the means: 1 for images like the held-out ones, 0 for copies of training
    images; infinity or NaN if all held-out images equal training images.
    """
    return float(fake.double().mean() / held_out.double().mean())


def copied_fraction(
    fake: Tensor, held_out: Tensor, fake_distance: Tensor, held_out_distance: Tensor
) -> float:
    """Return the fraction of the generated images suspiciously close to a training image.

    fake, held_out: images, (N, D) and (M, D).
    fake_distance, held_out_distance: of these to the nearest training image, (N,) and (M,).

    Close means less than half the median distance of the ten held-out images that are nearest to
    the generated one. Images of a class whose images hardly vary are close to each other, and so
    are compared with held-out images of that class. Near 0 for new images, near 1 for copies;
    similar to the authenticity of Alaa et al. 2022. The median tolerates held-out images that equal
    training images.
    """
    count = min(_COMPARED_HELD_OUT, len(held_out))
    nearest = pairwise_distances(fake, held_out).topk(count, dim=1, largest=False).indices
    usual = held_out_distance.double()[nearest].median(dim=1).values
    return _fraction(fake_distance.double() < usual / 2)


def is_repeated(images: Tensor, real: Tensor) -> Tensor:
    """Return which images (N, D) repeat one before them, bool (N,).

    They do if they are closer than half the median distance of a real image (M, D) to the nearest
    other one, or equal.
    """
    within = torch.cdist(images.double(), images.double())
    earlier = torch.ones_like(within, dtype=torch.bool).tril(-1)
    nearest = within.masked_fill(~earlier, math.inf).min(1).values
    threshold = 0.0
    if len(real) > 1:
        others = torch.cdist(real.double(), real.double()).fill_diagonal_(math.inf)
        threshold = float(others.min(1).values.median()) / 2
    # Distances of equal rows are rounded.
    return nearest <= max(threshold, _ROUNDING)


def _fraction(mask: Tensor) -> float:
    return float(mask.double().mean())
