"""Metrics of nearest neighbours: precision, recall, density, coverage and memorisation."""

import torch
from torch import Tensor

from gantrain.common.errors import UserError

_ROWS_AT_ONCE = 512  # rows of a distance matrix against many training images


def precision_recall_density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> dict[str, float]:
    """Return precision, recall, density and coverage of features (N, D) and (M, D).

    The ball of an image reaches its k-th nearest neighbour in its own set, edge included.

    precision: fraction of the fakes inside the ball of a real image; recall: fraction of the real
        images inside the ball of a fake (Kynkäänniemi et al. 2019, section 2).
    density: mean number of real balls that contain a fake, divided by k; may exceed 1. coverage:
        fraction of the real balls that contain a fake (Naeem et al. 2020, section 3).

    Raises UserError unless both sets have more than k images.
    """
    x, y = real.double(), fake.double()
    if min(len(x), len(y)) <= k:
        raise UserError(
            f"metrics.samples: {min(len(x), len(y))} images; expected more than {k}, the number "
            "of neighbours that precision and recall use."
        )
    real_radius, fake_radius = _ball_radii(x, k), _ball_radii(y, k)
    distance = pairwise_distances(x, y)
    in_real, in_fake = distance <= real_radius[:, None], distance <= fake_radius[None, :]
    return {
        "precision": _fraction(in_real.any(0)),
        "recall": _fraction(in_fake.any(1)),
        "density": float(in_real.sum()) / (k * len(y)),
        "coverage": _fraction(in_real.any(1)),
    }


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


def memorisation(fake: Tensor, training: Tensor, held_out: Tensor) -> float:
    """Return the fraction of the fakes that are suspiciously close to a training image.

    Close means less than half the median distance of held-out images to their nearest training
    image. Rows are images, (N, D). Near 0 for new images, near 1 for copies; similar to the
    authenticity of Alaa et al. 2022. The median tolerates held-out images that equal training
    images, such as two views of a round object.
    """
    threshold = nearest_rows(held_out, training)[0].double().median() / 2
    return _fraction(nearest_rows(fake, training)[0].double() < threshold)


def _ball_radii(x: Tensor, k: int) -> Tensor:
    # The nearest neighbour of each row is itself.
    return pairwise_distances(x, x).kthvalue(k + 1, dim=1).values


def _fraction(mask: Tensor) -> float:
    return float(mask.double().mean())
