"""FID and KID compared with closed forms, scipy, plain loops and torchmetrics."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn

from gantrain.common.errors import UserError
from gantrain.metrics.distances import Moments, frechet_distance, kernel_distance


def correlated_features(count: int, width: int, seed: int) -> Tensor:
    """Return random features (count, width) with correlations and unequal variances."""
    random = np.random.default_rng(seed)
    mix = random.normal(size=(width, width)) * random.uniform(0.1, 3, width)
    return torch.from_numpy(random.normal(size=(count, width)) @ mix + random.normal(size=width))


def test_the_frechet_distance_matches_the_closed_form_for_commuting_covariances() -> None:
    a, b = torch.tensor([4.0, 9.0, 0.0]).double(), torch.tensor([1.0, 16.0, 2.0]).double()
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    mean = torch.tensor([1.0, -2.0, 0.5]).double()
    one = Moments(mean, rotation @ a.diag() @ rotation.T)
    other = Moments(mean + torch.tensor([3.0, 0.0, 4.0]), rotation @ b.diag() @ rotation.T)
    # |(3, 0, 4)|² + Σ (√a - √b)² = 25 + (2-1)² + (3-4)² + (0-√2)²
    assert frechet_distance(one, other) == pytest.approx(25 + 1 + 1 + 2, rel=1e-12)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_matches_the_closed_form_for_two_dimensions() -> None:
    a = torch.tensor([[2.0, 1.0], [1.0, 3.0]]).double()
    b = torch.tensor([[1.0, -0.5], [-0.5, 4.0]]).double()
    # For 2x2, tr √M = √(tr M + 2 √det M), and the eigenvalues of √a b √a are those of a b.
    root = (torch.trace(a @ b) + 2 * torch.linalg.det(a @ b).sqrt()).sqrt()
    expected = float(torch.trace(a) + torch.trace(b) - 2 * root)
    zero = torch.zeros(2).double()
    distance = frechet_distance(Moments(zero, a), Moments(zero, b))
    assert distance == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("count", "width"), [(400, 16), (300, 128), (50, 128)])
def test_the_frechet_distance_agrees_with_scipys_matrix_square_root(count: int, width: int) -> None:
    x, y = correlated_features(count, width, 0), correlated_features(count + 7, width, 1)
    a, b = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    root = scipy.linalg.sqrtm(a @ b + 1e-10 * np.eye(width) * (count < width))
    shift = x.numpy().mean(0) - y.numpy().mean(0)
    expected = shift @ shift + np.trace(a) + np.trace(b) - 2 * np.trace(np.real(root))
    assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(expected, rel=1e-4)


def test_the_frechet_distance_of_a_rank_deficient_set_to_itself_is_zero() -> None:
    x = correlated_features(20, 128, 0)
    moments = Moments.of(x)
    assert frechet_distance(moments, moments) < 1e-9 * float(moments.covariance.trace())


def test_the_kernel_distance_matches_its_definition_pair_by_pair() -> None:
    x, y = correlated_features(9, 4, 0), correlated_features(7, 4, 1)

    def mean_kernel(a: Tensor, b: Tensor, *, same: bool) -> float:
        values = [
            (float(p @ q) / 4 + 1) ** 3
            for i, p in enumerate(a)
            for j, q in enumerate(b)
            if not (same and i == j)
        ]
        return float(np.mean(values))

    expected = mean_kernel(x, x, same=True) + mean_kernel(y, y, same=True)
    expected -= 2 * mean_kernel(x, y, same=False)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-12)


def test_the_kernel_distance_of_equal_distributions_is_zero_on_average() -> None:
    random = torch.Generator().manual_seed(0)
    distances = [
        kernel_distance(torch.randn(40, 8, generator=random), torch.randn(30, 8, generator=random))
        for _ in range(300)
    ]
    error = float(np.std(distances) / np.sqrt(len(distances)))
    assert abs(np.mean(distances)) < 3 * error
    assert min(distances) < 0 < max(distances)


class Pixels(nn.Module):
    """A feature extractor that returns the pixels."""

    num_features = 32

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_both_distances_agree_with_torchmetrics() -> None:
    fid = pytest.importorskip("torchmetrics.image.fid").FrechetInceptionDistance(Pixels())
    kid = pytest.importorskip("torchmetrics.image.kid").KernelInceptionDistance(
        Pixels(), subsets=1, subset_size=500
    )
    x, y = correlated_features(500, 32, 0), correlated_features(500, 32, 1)
    for metric in (fid.set_dtype(torch.float64), kid.set_dtype(torch.float64)):
        metric.update(x.view(-1, 1, 4, 8), real=True)
        metric.update(y.view(-1, 1, 4, 8), real=False)
    distance = frechet_distance(Moments.of(x), Moments.of(y))
    assert distance == pytest.approx(float(fid.compute()), rel=1e-6)
    assert kernel_distance(x, y) == pytest.approx(float(kid.compute()[0]), rel=1e-6)


def test_the_covariance_of_a_single_image_is_an_error() -> None:
    with pytest.raises(UserError, match="at least 2"):
        Moments.of(torch.zeros(1, 3))
