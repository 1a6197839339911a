"""FID and KID against closed forms, against scipy and plain loops, and against torchmetrics."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn

from gantrain.common.errors import UserError
from gantrain.metrics.distances import Moments, frechet_distance, kernel_distance


def drawn(count: int, width: int, seed: int) -> Tensor:
    """Features with correlations and unequal variances."""
    random = np.random.default_rng(seed)
    mix = random.normal(size=(width, width)) * random.uniform(0.1, 3, width)
    return torch.from_numpy(random.normal(size=(count, width)) @ mix + random.normal(size=width))


def test_the_frechet_distance_of_gaussians_whose_covariances_commute_has_a_closed_form() -> None:
    a, b = torch.tensor([4.0, 9.0, 0.0]).double(), torch.tensor([1.0, 16.0, 2.0]).double()
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    mean = torch.tensor([1.0, -2.0, 0.5]).double()
    one = Moments(mean, turn @ a.diag() @ turn.T)
    other = Moments(mean + torch.tensor([3.0, 0.0, 4.0]), turn @ b.diag() @ turn.T)
    # |(3, 0, 4)|² + Σ (√a - √b)² = 25 + (2-1)² + (3-4)² + (0-√2)²
    assert frechet_distance(one, other) == pytest.approx(25 + 1 + 1 + 2, rel=1e-12)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_of_two_by_two_covariances_has_a_closed_form() -> None:
    a = torch.tensor([[2.0, 1.0], [1.0, 3.0]]).double()
    b = torch.tensor([[1.0, -0.5], [-0.5, 4.0]]).double()
    # For 2x2, tr √M = √(tr M + 2 √det M), and the eigenvalues of √a b √a are those of a b.
    root = (torch.trace(a @ b) + 2 * torch.linalg.det(a @ b).sqrt()).sqrt()
    expected = float(torch.trace(a) + torch.trace(b) - 2 * root)
    zero = torch.zeros(2).double()
    found = frechet_distance(Moments(zero, a), Moments(zero, b))
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("count", "width"), [(400, 16), (300, 128), (50, 128)])
def test_the_frechet_distance_agrees_with_scipys_matrix_root(count: int, width: int) -> None:
    x, y = drawn(count, width, 0), drawn(count + 7, width, 1)
    a, b = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    root = scipy.linalg.sqrtm(a @ b + 1e-10 * np.eye(width) * (count < width))
    shift = x.numpy().mean(0) - y.numpy().mean(0)
    expected = shift @ shift + np.trace(a) + np.trace(b) - 2 * np.trace(np.real(root))
    assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(expected, rel=1e-4)


def test_of_a_set_without_full_rank_the_distance_to_itself_is_nothing() -> None:
    x = drawn(20, 128, 0)
    moments = Moments.of(x)
    assert frechet_distance(moments, moments) < 1e-9 * float(moments.covariance.trace())


def test_the_kernel_distance_is_that_of_the_definition_pair_by_pair() -> None:
    x, y = drawn(9, 4, 0), drawn(7, 4, 1)

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


def test_the_kernel_distance_of_equally_distributed_sets_is_zero_on_average() -> None:
    random = torch.Generator().manual_seed(0)
    found = [
        kernel_distance(torch.randn(40, 8, generator=random), torch.randn(30, 8, generator=random))
        for _ in range(300)
    ]
    error = float(np.std(found) / np.sqrt(len(found)))
    assert abs(np.mean(found)) < 3 * error
    assert min(found) < 0 < max(found)


class Pixels(nn.Module):
    """Features of images that are their pixels."""

    num_features = 32

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_both_agree_with_torchmetrics_on_the_same_features() -> None:
    fid = pytest.importorskip("torchmetrics.image.fid").FrechetInceptionDistance(Pixels())
    kid = pytest.importorskip("torchmetrics.image.kid").KernelInceptionDistance(
        Pixels(), subsets=1, subset_size=500
    )
    x, y = drawn(500, 32, 0), drawn(500, 32, 1)
    for metric in (fid.set_dtype(torch.float64), kid.set_dtype(torch.float64)):
        metric.update(x.view(-1, 1, 4, 8), real=True)
        metric.update(y.view(-1, 1, 4, 8), real=False)
    found = frechet_distance(Moments.of(x), Moments.of(y))
    assert found == pytest.approx(float(fid.compute()), rel=1e-6)
    assert kernel_distance(x, y) == pytest.approx(float(kid.compute()[0]), rel=1e-6)


def test_a_single_image_has_no_covariance() -> None:
    with pytest.raises(UserError, match="at least 2"):
        Moments.of(torch.zeros(1, 3))
