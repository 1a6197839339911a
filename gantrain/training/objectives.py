"""What the discriminator and the generator minimise: `dcgan` and `wgan-gp`.

Scores are D's of N images: logits or a critic's scores, float32 of shape (N,). Each loss is a
float32 scalar, and comes with the metrics that explain it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import DcganConfig, WganGpConfig
from gantrain.health.overrides import Overrides

Discriminate = Callable[[Tensor], Tensor]
Metrics = dict[str, Tensor]

# Keras clips probabilities to [1e-7, 1 - 1e-7] before it takes logarithms.
_KERAS_LOGIT = math.log((1 - 1e-7) / 1e-7)
# Keeps the gradient of the norm finite where the critic's gradient is exactly zero.
_NORM_EPSILON = 1e-12


class Objective(Protocol):
    """The losses of a GAN. `at` says which draws belong to the images at hand."""

    @property
    def n_critic(self) -> int:
        """D steps to one G step."""

    def d_loss(
        self, real_scores: Tensor, fake_scores: Tensor, rng: PositionalRNG
    ) -> tuple[Tensor, Metrics]:
        """From D's scores of real and of fake images."""

    def penalty(
        self, critic: Discriminate, real: Tensor, fake: Tensor, rng: PositionalRNG, step: int
    ) -> tuple[Tensor, Metrics]:
        """What D pays in its step number `step` beside that; `critic` is D."""

    def g_loss(self, fake_scores: Tensor) -> tuple[Tensor, Metrics]:
        """`fake_scores` are D's on what the generator just made."""


@dataclass(frozen=True)
class Dcgan:
    """Binary cross-entropy, non-saturating for the generator (Goodfellow et al. 2014)."""

    config: DcganConfig
    overrides: Overrides = field(default_factory=Overrides)

    @property
    def n_critic(self) -> int:
        return self.config.n_critic

    def d_loss(
        self, real_scores: Tensor, fake_scores: Tensor, rng: PositionalRNG
    ) -> tuple[Tensor, Metrics]:
        """The mean of the losses on real and on fake, as the book weighs them."""
        targets = d_targets(self.config, rng, self.overrides)
        real_targets, fake_targets = (t.to(real_scores.device) for t in targets)
        on_real = cross_entropy(real_scores, real_targets, self.config.label_noise_form)
        on_fake = cross_entropy(fake_scores, fake_targets, self.config.label_noise_form)
        return (on_real + on_fake) / 2, {
            **accuracies(real_scores, fake_scores),
            "health/d_logit_margin": real_scores.mean() - fake_scores.mean(),
        }

    def penalty(
        self, critic: Discriminate, real: Tensor, fake: Tensor, rng: PositionalRNG, step: int
    ) -> tuple[Tensor, Metrics]:
        """None."""
        return real.new_zeros(()), {}

    def g_loss(self, fake_scores: Tensor) -> tuple[Tensor, Metrics]:
        """-log D(G(z)): the generator wants its images taken for real ones."""
        loss = binary_cross_entropy_with_logits(fake_scores, torch.ones_like(fake_scores))
        return loss, {"loss/generator": loss}


@dataclass(frozen=True)
class WganGp:
    """Wasserstein distance by a critic held near Lipschitz 1 (Gulrajani et al. 2017)."""

    config: WganGpConfig

    @property
    def n_critic(self) -> int:
        return self.config.n_critic

    def d_loss(
        self, real_scores: Tensor, fake_scores: Tensor, rng: PositionalRNG
    ) -> tuple[Tensor, Metrics]:
        """Critic's score on fake less that on real."""
        distance = real_scores.mean() - fake_scores.mean()
        return -distance, {
            **accuracies(real_scores, fake_scores),
            "loss/wasserstein": distance,
        }

    def penalty(
        self, critic: Discriminate, real: Tensor, fake: Tensor, rng: PositionalRNG, step: int
    ) -> tuple[Tensor, Metrics]:
        """λ times the gradient penalty; in every k-th step alone, k times as much, if it is lazy
        (as StyleGAN2's regularisation, Karras et al. 2020)."""
        every = self.config.penalty_every
        if step % every:
            return real.new_zeros(()), {}
        draw = rng.uniform if self.config.penalty_mix == "uniform" else rng.normal
        epsilon = draw(Stream.PENALTY, 1).float().view(-1, 1, 1, 1).to(real.device)
        penalty = gradient_penalty(critic, real, fake, epsilon)
        return self.config.penalty_weight * every * penalty, {"loss/penalty": penalty}

    def g_loss(self, fake_scores: Tensor) -> tuple[Tensor, Metrics]:
        """The critic's score on fake, negated."""
        loss = -fake_scores.mean()
        return loss, {"loss/generator": loss}


def make_objective(
    config: DcganConfig | WganGpConfig, overrides: Overrides | None = None
) -> Objective:
    """The objective that the config's `kind` names, with labels as the live `overrides` say."""
    if isinstance(config, DcganConfig):
        return Dcgan(config, overrides if overrides is not None else Overrides())
    return WganGp(config)


def accuracies(real_scores: Tensor, fake_scores: Tensor) -> Metrics:
    """Shares of real and of fake images that D is right about, if 0 parts them."""
    return {
        "health/d_accuracy_real": (real_scores > 0).float().mean(),
        "health/d_accuracy_fake": (fake_scores < 0).float().mean(),
    }


def pairwise_diversity(real: Tensor, fake: Tensor) -> Metrics:
    """How much images (N, C, S, S) of a batch differ: mean squared difference of neighbours.

    Pairs of neighbours, not all pairs: such a mean does not depend on how ranks share a batch.
    Empty for a single image.
    """
    pairs = len(real) // 2 * 2
    if not pairs:
        return {}
    return {
        f"health/{kind}_spread": (x[0:pairs:2] - x[1:pairs:2]).square().mean()
        for kind, x in (("real", real.detach()), ("fake", fake.detach()))
    }


def d_targets(
    config: DcganConfig, rng: PositionalRNG, overrides: Overrides | None = None
) -> tuple[Tensor, Tensor]:
    """D's targets for real and fake images, two float32 tensors of shape (rng.count,).

    Smoothing lowers the real target alone (Salimans et al. 2016). Noise moves both: `bounded` into
    [0, 1], towards each other; `book` away from each other, to at most 1.1 and -0.1 at 0.1. A
    flipped image is given the other kind's target. `overrides` add bounded noise and flips.
    """
    more = overrides if overrides is not None else Overrides()
    draws = rng.uniform(Stream.LABELS, 4).float()
    inwards = 1.0 if config.label_noise_form == "bounded" else -1.0
    noise = inwards * config.label_noise * draws[:, :2]
    real = 1.0 - config.label_smoothing - noise[:, 0]
    fake = noise[:, 1]
    if more.label_noise:
        real = real - more.label_noise * draws[:, 0]
        fake = fake + more.label_noise * draws[:, 1]
    flipped = draws[:, 2:] < config.label_flips + more.label_flips
    return torch.where(flipped[:, 0], fake, real), torch.where(flipped[:, 1], real, fake)


def cross_entropy(logits: Tensor, targets: Tensor, form: str) -> Tensor:
    """Mean binary cross-entropy. `book` bounds the logits, since its targets leave [0, 1]."""
    if form == "book":
        logits = logits.clamp(-_KERAS_LOGIT, _KERAS_LOGIT)
    return binary_cross_entropy_with_logits(logits, targets)


def gradient_penalty(critic: Discriminate, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """Mean of (‖∇ critic(x)‖₂ - 1)² at x = ε real + (1 - ε) fake, one ε (N, 1, 1, 1) an image."""
    mixed = torch.lerp(fake, real, epsilon).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    norms = (gradient.flatten(1).square().sum(1) + _NORM_EPSILON).sqrt()
    return (norms - 1).square().mean()
