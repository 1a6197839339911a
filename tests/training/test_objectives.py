"""The losses compared with closed forms and with a second implementation in NumPy."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gantrain.common.rng import PositionalRNG
from gantrain.config import DcganConfig, HingeConfig, RpganConfig, WganGpConfig
from gantrain.training.batch import Moment
from gantrain.training.labels import cross_entropy, d_targets
from gantrain.training.objectives import (
    Dcgan,
    Hinge,
    Rpgan,
    WganGp,
    chosen_gammas,
    make_objective,
)
from gantrain.training.penalties import Scored, ZeroCentred, gradient_penalty
from tests.conftest import RPGAN, small_config

RNG = PositionalRNG(3, 0, 4000)


def logits(*values: float) -> Tensor:
    return torch.tensor(values)


def test_dcgan_losses_equal_the_formulas_of_the_paper() -> None:
    real_logits, fake_logits = logits(2.0, -1.0, 0.5), logits(-3.0, 0.25, 1.0)
    objective = Dcgan(DcganConfig())
    loss, metrics = objective.d_loss(real_logits, fake_logits, PositionalRNG(0, 0, 3))
    p, q = (1 / (1 + np.exp(-x.numpy())) for x in (real_logits, fake_logits))
    assert loss.item() == pytest.approx((-np.log(p).mean() - np.log(1 - q).mean()) / 2, rel=1e-6)
    assert metrics["health/d_accuracy_real"].item() == pytest.approx(2 / 3)
    assert metrics["health/d_accuracy_fake"].item() == pytest.approx(1 / 3)
    g_loss, _ = objective.g_loss(fake_logits)
    assert g_loss.item() == pytest.approx(-np.log(q).mean(), rel=1e-6)


def test_the_loss_of_an_undecided_discriminator_is_log_two() -> None:
    objective = Dcgan(DcganConfig())
    loss, _ = objective.d_loss(torch.zeros(2), torch.zeros(2), PositionalRNG(0, 0, 2))
    assert loss.item() == pytest.approx(math.log(2))
    assert objective.g_loss(torch.zeros(2))[0].item() == pytest.approx(math.log(2))


def test_default_targets_are_one_and_zero() -> None:
    real, fake = d_targets(DcganConfig(), RNG)
    assert real.eq(1).all()
    assert fake.eq(0).all()


def test_smoothing_lowers_real_targets_only() -> None:
    real, fake = d_targets(DcganConfig(label_smoothing=0.1), RNG)
    assert real.sub(0.9).abs().max() < 1e-6
    assert fake.eq(0).all()


def test_bounded_noise_stays_in_the_unit_interval_and_the_books_leaves_it() -> None:
    real, fake = d_targets(DcganConfig(label_noise=0.2), RNG)
    assert 0.8 <= real.min() < 0.81
    assert 0.99 < real.max() <= 1
    assert 0 <= fake.min() < 0.01
    assert 0.19 < fake.max() <= 0.2
    real, fake = d_targets(DcganConfig(label_noise=0.1, label_noise_form="book"), RNG)
    assert 1 <= real.min() < 1.01
    assert 1.09 < real.max() <= 1.1
    assert -0.1 <= fake.min() < -0.09
    assert -0.01 < fake.max() <= 0
    assert real.mean().item() == pytest.approx(1.05, abs=0.003)


def test_the_fraction_of_flipped_labels_is_the_configured_one() -> None:
    real, fake = d_targets(DcganConfig(label_flips=0.25), RNG)
    assert real.eq(0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert fake.eq(1).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert not torch.equal(real.eq(0), fake.eq(1))


def test_bounded_noise_leaves_the_loss_a_minimum_and_the_books_form_is_clipped() -> None:
    far, near = logits(1e4), logits(2.0)
    assert cross_entropy(far, logits(0.9), "bounded") > cross_entropy(near, logits(0.9), "bounded")
    assert cross_entropy(far, logits(1.1), "bounded") < -900  # what the clipping guards against
    # Keras: -1.1 log(1 - 1e-7) + 0.1 log(1e-7)
    expected = -1.1 * math.log(1 - 1e-7) + 0.1 * math.log(1e-7)
    assert cross_entropy(far, logits(1.1), "book").item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0, 3.0])
def test_the_penalty_of_a_linear_critic_is_its_distance_from_norm_one(norm: float) -> None:
    weight = torch.randn(1, 5, 5)
    weight *= norm / weight.norm()
    real, fake = torch.randn(2, 4, 1, 5, 5).unbind()
    penalty = gradient_penalty(
        lambda x: (x * weight).sum((1, 2, 3)), real, fake, torch.rand(4, 1, 1, 1)
    )
    assert penalty.item() == pytest.approx((norm - 1) ** 2, abs=1e-5)


def test_the_penalty_of_a_quadratic_critic_is_taken_at_the_mixed_images() -> None:
    real, fake = torch.randn(2, 4, 1, 3, 3).unbind()
    epsilon = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(4, 1, 1, 1)
    penalty = gradient_penalty(lambda x: x.square().sum((1, 2, 3)) / 2, real, fake, epsilon)
    mixed = epsilon * real + (1 - epsilon) * fake  # the gradient of ‖x‖²/2 is x itself
    expected = (mixed.flatten(1).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(penalty, expected)


def test_the_penalty_has_a_finite_gradient_where_the_critics_is_zero() -> None:
    weight = torch.zeros(1, 3, 3, requires_grad=True)
    real, fake = torch.randn(2, 4, 1, 3, 3).unbind()
    penalty = gradient_penalty(
        lambda x: (x * weight).sum((1, 2, 3)), real, fake, torch.rand(4, 1, 1, 1)
    )
    penalty.backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_the_critics_loss_adds_up() -> None:
    real, fake = torch.randn(2, 4, 1, 3, 3).unbind()
    weight = torch.full((1, 3, 3), 2 / 3)  # norm 2: a penalty of 1 everywhere

    def critic(x: Tensor) -> Tensor:
        return (x * weight).sum((1, 2, 3))

    objective = WganGp(WganGpConfig(kind="wgan-gp", penalty_weight=7))
    loss, metrics = objective.d_loss(critic(real), critic(fake), PositionalRNG(0, 0, 4))
    distance = critic(real).mean() - critic(fake).mean()
    torch.testing.assert_close(loss, -distance)
    torch.testing.assert_close(metrics["loss/wasserstein"], distance)
    of_real, of_fake = (Scored(x, x, critic(x)) for x in (real, fake))
    penalty, metrics = objective.penalty(critic, of_real, of_fake, PositionalRNG(0, 0, 4), Moment())
    torch.testing.assert_close(penalty, torch.tensor(7.0))
    torch.testing.assert_close(metrics["loss/penalty"], torch.tensor(1.0))
    torch.testing.assert_close(objective.g_loss(critic(fake))[0], -critic(fake).mean())


def test_a_lazy_penalty_has_the_same_mean_as_one_in_every_step() -> None:
    real, fake = torch.randn(2, 4, 1, 3, 3).unbind()
    weight = torch.full((1, 3, 3), 2 / 3)
    objective = WganGp(WganGpConfig(kind="wgan-gp", penalty_weight=7, penalty_every=4))
    of_real, of_fake = (Scored(x, x, torch.zeros(4)) for x in (real, fake))
    rng = RNG.split(1000)[0]
    paid = [
        objective.penalty(lambda x: (x * weight).sum((1, 2, 3)), of_real, of_fake, rng, moment)
        for moment in [Moment(d_step=k) for k in range(12)]
    ]
    assert [k for k, (penalty, _) in enumerate(paid) if penalty] == [0, 4, 8]
    assert sum(penalty.item() for penalty, _ in paid) / 12 == pytest.approx(7, rel=1e-5)
    assert [k for k, (_, metrics) in enumerate(paid) if metrics] == [0, 4, 8]


def test_hinge_losses_equal_the_formulas_of_the_papers() -> None:
    real, fake = logits(3.0, 0.5, -2.0), logits(-1.5, 0.25, 1.0)
    objective = Hinge(HingeConfig(kind="hinge"))
    loss, metrics = objective.d_loss(real, fake, PositionalRNG(0, 0, 3))
    x, y = real.numpy(), fake.numpy()
    # Miyato et al. 2018, equations 16 and 17, with the sign of a loss.
    expected = -np.minimum(0, x - 1).mean() - np.minimum(0, -y - 1).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert metrics["health/d_accuracy_real"].item() == pytest.approx(2 / 3)
    assert metrics["health/d_accuracy_fake"].item() == pytest.approx(1 / 3)
    assert metrics["health/d_logit_margin"].item() == pytest.approx(x.mean() - y.mean(), rel=1e-6)
    assert objective.g_loss(fake)[0].item() == pytest.approx(-y.mean(), rel=1e-6)


def test_the_hinge_loss_of_a_guess_is_two_and_beyond_the_margins_d_gets_no_gradient() -> None:
    objective, rng = Hinge(HingeConfig(kind="hinge")), PositionalRNG(0, 0, 2)
    assert objective.d_loss(torch.zeros(2), torch.zeros(2), rng)[0].item() == 2
    real = logits(1.5, 0.5).requires_grad_()
    fake = logits(-1.5, -0.5).requires_grad_()
    loss, _ = objective.d_loss(real, fake, rng)
    at_real, at_fake = torch.autograd.grad(loss, [real, fake])
    assert at_real.tolist() == [0, -0.5]
    assert at_fake.tolist() == [0, 0.5]
    # G keeps its gradient however far D is ahead.
    assert torch.autograd.grad(objective.g_loss(fake)[0], fake)[0].tolist() == [-0.5, -0.5]


def test_hinge_has_no_labels() -> None:
    objective = Hinge(HingeConfig(kind="hinge", n_critic=3))
    objective.add_label_noise(0.3, 0.3)
    scores, rng = logits(2.0, 2.0), PositionalRNG(0, 0, 2)
    assert objective.d_loss(scores, -scores, rng)[0].item() == 0
    assert objective.n_critic == 3


def test_rpgan_losses_equal_the_formulas_of_the_paper() -> None:
    real, fake = logits(2.0, -1.0, 0.5, 3.0), logits(-3.0, 0.25, 0.5, 2.5)
    objective, rng = Rpgan(RpganConfig(kind="rpgan")), PositionalRNG(0, 0, 4)
    loss, metrics = objective.d_loss(real, fake, rng)
    x, y = real.numpy(), fake.numpy()
    # Jolicoeur-Martineau 2018, equations 6 and 7, with the cross-entropy of the standard GAN.
    assert loss.item() == pytest.approx(-np.log(1 / (1 + np.exp(-(x - y)))).mean(), rel=1e-6)
    g_loss, _ = objective.g_loss(fake, real)
    assert g_loss.item() == pytest.approx(-np.log(1 / (1 + np.exp(-(y - x)))).mean(), rel=1e-6)
    assert metrics["health/d_pair_accuracy"].item() == 0.5  # a tie is not right
    assert metrics["health/d_logit_margin"].item() == pytest.approx((x - y).mean(), rel=1e-6)


def test_rpgan_knows_no_absolute_scores_and_keeps_its_gradient_at_large_ones() -> None:
    objective, rng = Rpgan(RpganConfig(kind="rpgan")), PositionalRNG(0, 0, 2)
    real, fake = logits(0.5, -0.25), logits(-1.0, 0.25)
    loss, metrics = objective.d_loss(real, fake, rng)
    moved, same = objective.d_loss(real + 8, fake + 8, rng)
    torch.testing.assert_close(loss, moved)
    torch.testing.assert_close(metrics, same)
    assert objective.d_loss(fake, fake, rng)[0].item() == pytest.approx(math.log(2))
    far = logits(-1e4, -1e4).requires_grad_()
    g_loss, _ = objective.g_loss(far, real)
    assert g_loss.isfinite()
    assert torch.autograd.grad(g_loss, far)[0].tolist() == [-0.5, -0.5]


def test_no_gradient_of_gs_loss_reaches_the_real_scores_of_rpgan() -> None:
    objective = Rpgan(RpganConfig(kind="rpgan"))
    real, fake = logits(1.0, 2.0).requires_grad_(), logits(0.0, 0.0).requires_grad_()
    loss, _ = objective.g_loss(fake, real)
    assert torch.autograd.grad(loss, [real, fake], allow_unused=True)[0] is None
    with pytest.raises(ValueError, match="rpgan pairs"):
        objective.g_loss(fake)


def test_rpgan_is_regularised_by_default_and_has_no_labels() -> None:
    config = small_config(Path("shards"), Path("run"), **RPGAN)
    objective = make_objective(config)
    gamma = 0.0002 * 32**2 / 16
    assert objective.penalty == ZeroCentred(gamma, gamma)
    assert chosen_gammas(config) == [
        "objective.r1_gamma and r2_gamma: auto is 0.0128 for 32x32 images and a batch of 16"
    ]
    assert chosen_gammas(small_config(Path("shards"), Path("run"))) == []
    objective.add_label_noise(0.3, 0.3)
    scores, rng = logits(100.0, 100.0), PositionalRNG(0, 0, 2)
    assert objective.d_loss(scores, -scores, rng)[0].item() == 0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("dcgan", Dcgan), ("wgan-gp", WganGp), ("hinge", Hinge), ("rpgan", Rpgan)],
)
def test_the_kind_chooses_the_objective(kind: str, expected: type) -> None:
    sections: dict[str, Any] = {"objective": {"kind": kind}, "discriminator": {"norm": "none"}}
    config = small_config(Path("shards"), Path("run"), **sections)
    assert isinstance(make_objective(config), expected)
