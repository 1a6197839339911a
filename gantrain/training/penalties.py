"""Penalties on the gradient of D's scores with respect to images, which D's loss may include.

A penalty is a float32 scalar and is returned with the metrics that explain it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.common.transfer import to_device
from gantrain.config.schedules import Schedule, peak_of
from gantrain.training.batch import Moment

Discriminate = Callable[[Tensor], Tensor]
Metrics = dict[str, Tensor]

# Keeps the gradient of the norm finite where the critic's gradient is exactly zero.
_NORM_EPSILON = 1e-12


class Scored(NamedTuple):
    """Images and D's scores of them in a D step.

    images: (N, C, S, S) in [-1, 1], before augmentation. seen: what D saw of them, after it.
    scores: float32 (N,).
    """

    images: Tensor
    seen: Tensor
    scores: Tensor


class Penalty(Protocol):
    """What D's loss includes beside its scores."""

    def is_due(self, moment: Moment) -> bool:
        """Return whether the D step at `moment` includes it."""

    def differentiates(self, moment: Moment) -> tuple[bool, bool]:
        """Return whether the D step at `moment` needs the gradients of its scores with respect to
        real images, and with respect to fake ones.
        """

    def __call__(
        self, critic: Discriminate, real: Scored, fake: Scored, rng: PositionalRNG, moment: Moment
    ) -> tuple[Tensor, Metrics]:
        """Return what is added to D's loss in the D step at `moment`; 0 if that is nothing.

        critic: D, for a pass of its own; its scores can be differentiated twice.
        real, fake: where `differentiates` says so, `scores` is a function of `images` that can be
            differentiated twice.
        rng: covers the positions of the images.
        """


@dataclass(frozen=True)
class ZeroCentred:
    """R1 and R2: γ/2 times the mean squared norm of the gradient of D's scores.

    R1 is that at real images (Mescheder et al. 2018), R2 that at generated ones; the gradient
    belongs to the passes of D that its loss needs anyway. With every = k they count in every k-th
    D step, k times, like the lazy regularisation of StyleGAN2 (Karras et al. 2020).

    The gradient is that with respect to the images before DiffAugment, as in the code of
    StyleGAN2-ADA and of R3GAN: pixels that an augmentation has removed have none.

    r1_gamma, r2_gamma: γ of each; 0 leaves it out.
    """

    r1_gamma: float | Schedule[Any] = 0.0
    r2_gamma: float | Schedule[Any] = 0.0
    every: int = 1

    def is_due(self, moment: Moment) -> bool:
        return any(self.differentiates(moment))

    def differentiates(self, moment: Moment) -> tuple[bool, bool]:
        due = moment.d_step % self.every == 0
        return due and peak_of(self.r1_gamma) > 0, due and peak_of(self.r2_gamma) > 0

    def __call__(
        self, critic: Discriminate, real: Scored, fake: Scored, rng: PositionalRNG, moment: Moment
    ) -> tuple[Tensor, Metrics]:
        """Return the sum of both; `loss/r1` and `loss/r2` are the mean squared norms."""
        total, metrics = real.scores.new_zeros(()), {}
        at_real, at_fake = self.differentiates(moment)
        for name, due, gamma, scored in (
            ("loss/r1", at_real, self.r1_gamma, real),
            ("loss/r2", at_fake, self.r2_gamma, fake),
        ):
            if due:
                metrics[name] = squared_gradient(scored.scores, scored.images)
                weight = self.every * moment.value_of(gamma) / 2
                total = total + weight * metrics[name]
        return total, metrics


NO_PENALTY = ZeroCentred()


@dataclass(frozen=True)
class Interpolated:
    """λ times the gradient penalty of WGAN-GP (Gulrajani et al. 2017, algorithm 1).

    With every = k it is computed in every k-th step and weighted k times.
    """

    weight: float | Schedule[Any]
    mix: Literal["uniform", "normal"] = "uniform"
    every: int = 1

    def is_due(self, moment: Moment) -> bool:
        return moment.d_step % self.every == 0

    def differentiates(self, moment: Moment) -> tuple[bool, bool]:
        """Return False twice: it makes a pass of its own."""
        return False, False

    def __call__(
        self, critic: Discriminate, real: Scored, fake: Scored, rng: PositionalRNG, moment: Moment
    ) -> tuple[Tensor, Metrics]:
        if not self.is_due(moment):
            return real.scores.new_zeros(()), {}
        sample = rng.uniform if self.mix == "uniform" else rng.normal
        epsilon = sample(Stream.PENALTY, 1).float().view(-1, 1, 1, 1)
        epsilon = to_device(epsilon, real.seen.device)
        penalty = gradient_penalty(critic, real.seen, fake.seen.detach(), epsilon)
        return moment.value_of(self.weight) * self.every * penalty, {"loss/penalty": penalty}


def squared_gradient(scores: Tensor, images: Tensor) -> Tensor:
    """Return the mean over images of ‖∂score/∂image‖², the square summed over pixels and channels.

    scores: (N,), a function of `images` (N, C, S, S), each score one of its own image alone.
    The result can be differentiated with respect to D's weights.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean()


def gradient_penalty(critic: Discriminate, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """Return the mean of (‖∇ critic(x)‖₂ - 1)² at x = ε real + (1 - ε) fake.

    epsilon: (N, 1, 1, 1), one for each image. Gulrajani et al. 2017, equation 3.
    """
    mixed = torch.lerp(fake, real, epsilon).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    norms = (gradient.flatten(1).square().sum(1) + _NORM_EPSILON).sqrt()
    return (norms - 1).square().mean()
