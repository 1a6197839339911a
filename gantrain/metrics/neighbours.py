"""What nearest neighbours tell: fidelity, diversity, and whether images are copies."""

import torch
from torch import Tensor

from gantrain.common.errors import UserError

_ROWS_AT_ONCE = 512  # of a distance matrix against many training images


def precision_recall_density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> dict[str, float]:
    """Of features (N, D) and (M, D), with balls that reach the k-th nearest of the same set.

    precision: share of fakes inside a real ball; recall: share of reals inside a fake ball
    (Kynkäänniemi et al. 2019). density: real balls that a fake lies in, over k, which may exceed
    1; coverage: share of real balls that hold a fake (Naeem et al. 2020). On a ball's edge is
    inside. Raises UserError unless both sets have more than k images.
    """
    x, y = real.double(), fake.double()
    if min(len(x), len(y)) <= k:
        raise UserError(
            f"metrics.samples: {min(len(x), len(y))} images; expected more than {k}, the number "
            "of neighbours that precision and recall look at."
        )
    real_radius, fake_radius = _radii(x, k), _radii(y, k)
    apart = distances(x, y)
    in_real, in_fake = apart <= real_radius[:, None], apart <= fake_radius[None, :]
    return {
        "precision": _mean(in_real.any(0)),
        "recall": _mean(in_fake.any(1)),
        "density": float(in_real.sum()) / (k * len(y)),
        "coverage": _mean(in_real.any(1)),
    }


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances (N, M) of rows (N, D) and (M, D), exactly 0 where rows are equal."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def nearest(images: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """For each row (N, D) the distance to the nearest row of `among` (M, D), and its index."""
    near = []
    squares = among.square().sum(1)
    for rows in torch.split(images, _ROWS_AT_ONCE):
        near.append((squares - 2 * rows @ among.T).argmin(1))
    index = torch.cat(near)
    # The search loses digits where rows are close; the distance itself must not.
    return (images - among[index]).square().sum(1).sqrt(), index


def memorisation(fake: Tensor, training: Tensor, held_out: Tensor) -> float:
    """Share of fakes not half as far from a training image as the median held-out one is.

    Rows are images, (N, D). Near 0 for new images, towards 1 for copies; in the spirit of the
    authenticity of Alaa et al. 2022. A median, since some held-out images may well be equal to
    training ones: a round brick looks the same from all sides.
    """
    mark = nearest(held_out, training)[0].double().median() / 2
    return _mean(nearest(fake, training)[0].double() < mark)


def _radii(x: Tensor, k: int) -> Tensor:
    # The smallest distance is that of an image to itself.
    return distances(x, x).kthvalue(k + 1, dim=1).values


def _mean(hits: Tensor) -> float:
    return float(hits.double().mean())
