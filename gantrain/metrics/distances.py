"""Fréchet and kernel distances of two sets of features (FID and KID), in float64."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from gantrain.common.errors import UserError


@dataclass(frozen=True)
class Moments:
    """Mean (D,) and unbiased covariance (D, D) of a set of features, float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Self:
        """Return the moments of features (N, D). Raises UserError if N is less than 2."""
        x = features.double()
        if len(x) < 2:
            raise UserError(f"{len(x)} image(s); expected at least 2 to compute a covariance.")
        centred = x - x.mean(0)
        return cls(x.mean(0), centred.T @ centred / (len(x) - 1))


def frechet_distance(real: Moments, fake: Moments) -> float:
    """Return the squared 2-Wasserstein distance of two Gaussians (FID; Heusel et al. 2017).

    |μ₁ - μ₂|² + tr C₁ + tr C₂ - 2 tr (C₁^½ C₂ C₁^½)^½, never negative. The last trace is the sum of
    the singular values of C₁^½ C₂^½, whose roots come from symmetric eigendecompositions. It takes
    no root of a squared quantity, so that covariances without full rank lose no precision.
    """
    cross = torch.linalg.svdvals(
        _matrix_root(real.covariance) @ _matrix_root(fake.covariance)
    ).sum()
    mean_term = (real.mean - fake.mean).square().sum()
    total = mean_term + real.covariance.trace() + fake.covariance.trace() - 2 * cross
    return max(float(total), 0.0)


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    """Return the unbiased squared maximum mean discrepancy of features (N, D) and (M, D).

    The kernel is (x·y / D + 1)³, that of the Kernel Inception Distance (KID; Bińkowski et al.
    2018), here over all images rather than as the mean over subsets. The estimate of similar sets
    can be negative.
    """
    x, y = real.double(), fake.double()
    n, m = len(x), len(y)
    within_x = (_kernel(x, x).sum() - _self_kernel(x).sum()) / (n * (n - 1))
    within_y = (_kernel(y, y).sum() - _self_kernel(y).sum()) / (m * (m - 1))
    return float(within_x + within_y - 2 * _kernel(x, y).mean())


def kernel_distance_of_subsets(
    real: Tensor, fake: Tensor, subsets: Sequence[tuple[Tensor, Tensor]]
) -> list[float]:
    """Return the kernel distances of subsets of features (N, D) and (M, D).

    subsets: the rows of each in `real` and in `fake`, equally many in all subsets.
    """
    x, y = real.double(), fake.double()
    one = torch.stack([_indicator(rows, len(x)) for rows, _ in subsets])
    other = torch.stack([_indicator(rows, len(y)) for _, rows in subsets])
    n, m = (int(chosen[0].sum()) for chosen in (one, other))
    within_x = ((one @ _kernel(x, x).fill_diagonal_(0)) * one).sum(1) / (n * (n - 1))
    within_y = ((other @ _kernel(y, y).fill_diagonal_(0)) * other).sum(1) / (m * (m - 1))
    across = ((one @ _kernel(x, y)) * other).sum(1) / (n * m)
    distances: list[float] = (within_x + within_y - 2 * across).tolist()
    return distances


def _indicator(rows: Tensor, count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.float64).index_fill(0, rows, 1.0)


def _matrix_root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    # An eigenvalue of 0 comes out as rounding noise, whose root would be 8 digits larger.
    noise = values[-1] * len(values) * torch.finfo(values.dtype).eps
    root: Tensor = (vectors * values.where(values > noise, 0.0).sqrt()) @ vectors.T
    return root


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    kernel: Tensor = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def _self_kernel(x: Tensor) -> Tensor:
    kernel: Tensor = (x.square().sum(1) / x.shape[1] + 1) ** 3
    return kernel
