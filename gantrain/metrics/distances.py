"""Distances between two sets of features: Fréchet and kernel. All in float64."""

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
        """Of features (N, D); at least two."""
        x = features.double()
        if len(x) < 2:
            raise UserError(f"{len(x)} image(s); expected at least 2 to have a covariance.")
        centred = x - x.mean(0)
        return cls(x.mean(0), centred.T @ centred / (len(x) - 1))


def frechet_distance(real: Moments, fake: Moments) -> float:
    """Squared 2-Wasserstein distance of two Gaussians with these moments (Heusel et al. 2017).

    |μ₁ - μ₂|² + tr C₁ + tr C₂ - 2 tr (C₁^½ C₂ C₁^½)^½. The last trace is the sum of the singular
    values of C₁^½ C₂^½, with roots by symmetric eigen-decomposition: no root is taken of what has
    been squared, so that covariances without full rank lose no digits. Never below 0.
    """
    cross = torch.linalg.svdvals(_root(real.covariance) @ _root(fake.covariance)).sum()
    apart = (real.mean - fake.mean).square().sum()
    total = apart + real.covariance.trace() + fake.covariance.trace() - 2 * cross
    return max(float(total), 0.0)


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    """Squared maximum mean discrepancy of features (N, D) and (M, D), unbiased.

    With the kernel (x·y / D + 1)³ of the Kernel Inception Distance (Bińkowski et al. 2018), over
    all images in place of the mean over subsets. Below 0 by chance where the sets are alike.
    """
    x, y = real.double(), fake.double()
    n, m = len(x), len(y)
    within_x = (_kernel(x, x).sum() - _kernel_of_itself(x).sum()) / (n * (n - 1))
    within_y = (_kernel(y, y).sum() - _kernel_of_itself(y).sum()) / (m * (m - 1))
    return float(within_x + within_y - 2 * _kernel(x, y).mean())


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    # What is 0 comes out as rounding noise, whose root would be 8 digits larger.
    noise = values[-1] * len(values) * torch.finfo(values.dtype).eps
    root: Tensor = (vectors * values.where(values > noise, 0.0).sqrt()) @ vectors.T
    return root


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    kernel: Tensor = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def _kernel_of_itself(x: Tensor) -> Tensor:
    kernel: Tensor = (x.square().sum(1) / x.shape[1] + 1) ** 3
    return kernel
