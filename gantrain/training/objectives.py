"""The objectives: what the discriminator and the generator minimise.

Scores are D's outputs for N images: logits, or a critic's scores; float32 (N,). Every loss is a
float32 scalar and is returned with the metrics that explain it. Penalties are parts of their own,
in gantrain/training/penalties.py.

To add an objective, write a class with the methods of `Objective` here, give it a config section
in gantrain/config/objectives.py, and return it from `make_objective`. Numbers of its own that may
change during a run belong into `constants`: a CUDA graph keeps the others.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, relu, softplus

from gantrain.common.rng import PositionalRNG
from gantrain.common.transfer import to_device
from gantrain.config import Config
from gantrain.config.objectives import (
    DcganConfig,
    HingeConfig,
    RpganConfig,
    WganGpConfig,
    ZeroCentredConfig,
    gamma_of,
)
from gantrain.data.loading.datasets import Images
from gantrain.training.batch import Moment
from gantrain.training.image_signals import class_signals, image_signals
from gantrain.training.labels import cross_entropy, d_targets
from gantrain.training.penalties import (
    NO_PENALTY,
    Interpolated,
    Metrics,
    Penalty,
    Scored,
    ZeroCentred,
)


class Objective(Protocol):
    """The losses of a GAN. `rng` covers the positions of the images that are passed with it."""

    @property
    def n_critic(self) -> int:
        """D steps per G step."""

    @property
    def penalty(self) -> Penalty:
        """What is added to `d_loss`."""

    @property
    def g_needs_real_scores(self) -> bool:
        """Whether `g_loss` uses D's scores of real images, as relativistic losses do."""

    @property
    def separate(self) -> bool:
        """Whether `d_loss` is a sum of a function of real scores and one of fake scores."""

    def d_loss(
        self, real_scores: Tensor, fake_scores: Tensor, rng: PositionalRNG
    ) -> tuple[Tensor, Metrics]:
        """Return D's loss, without penalties, from its scores of real and of fake images."""

    def g_loss(
        self, fake_scores: Tensor, real_scores: Tensor | None = None
    ) -> tuple[Tensor, Metrics]:
        """Return G's loss from D's scores of newly generated images.

        real_scores: given if `g_needs_real_scores`; no gradient reaches G through them.
        """

    def add_label_noise(self, noise: float, flips: float) -> None:
        """From now on, add this much noise and these flips to D's labels, beyond the config's.

        Each call replaces the values of the one before. No effect where D has no labels.
        """


@dataclass
class Dcgan:
    """Binary cross-entropy, with the non-saturating generator loss (Goodfellow et al. 2014).

    extra_noise, extra_flips: see `add_label_noise`.
    """

    config: DcganConfig
    penalty: Penalty = NO_PENALTY
    extra_noise: float = 0.0
    extra_flips: float = 0.0
    g_needs_real_scores: bool = False
    separate: bool = True

    @property
    def n_critic(self) -> int:
        return self.config.n_critic

    def d_loss(
        self, real_scores: Tensor, fake_scores: Tensor, rng: PositionalRNG
    ) -> tuple[Tensor, Metrics]:
        """Return the mean of the losses on real and on fake images, as in the book."""
        targets = d_targets(self.config, rng, self.extra_noise, self.extra_flips)
        real_targets, fake_targets = (to_device(t, real_scores.device) for t in targets)
        real_loss = cross_entropy(real_scores, real_targets, self.config.label_noise_form)
        fake_loss = cross_entropy(fake_scores, fake_targets, self.config.label_noise_form)
        return (real_loss + fake_loss) / 2, {
            **accuracies(real_scores, fake_scores),
            "health/d_logit_margin": real_scores.mean() - fake_scores.mean(),
        }

    def g_loss(
        self, fake_scores: Tensor, real_scores: Tensor | None = None
    ) -> tuple[Tensor, Metrics]:
        """Return the mean of -log D(G(z))."""
        loss = binary_cross_entropy_with_logits(fake_scores, torch.ones_like(fake_scores))
        return loss, {"loss/generator": loss}

    def add_label_noise(self, noise: float, flips: float) -> None:
        self.extra_noise, self.extra_flips = noise, flips


@dataclass(frozen=True)
class WganGp:
    """Wasserstein loss with gradient penalty (Gulrajani et al. 2017, algorithm 1)."""

    config: WganGpConfig
    g_needs_real_scores: bool = False
    separate: bool = True

    @property
    def n_critic(self) -> int:
        return self.config.n_critic

    @property
    def penalty(self) -> Interpolated:
        config = self.config
        return Interpolated(config.penalty_weight, config.penalty_mix, config.penalty_every)

    def d_loss(
        self, real_scores: Tensor, fake_scores: Tensor, rng: PositionalRNG
    ) -> tuple[Tensor, Metrics]:
        """Return the critic's mean score of fake images minus that of real ones."""
        distance = real_scores.mean() - fake_scores.mean()
        return -distance, {
            **accuracies(real_scores, fake_scores),
            "loss/wasserstein": distance,
        }

    def g_loss(
        self, fake_scores: Tensor, real_scores: Tensor | None = None
    ) -> tuple[Tensor, Metrics]:
        """Return the negative of the critic's mean score of fake images."""
        loss = -fake_scores.mean()
        return loss, {"loss/generator": loss}

    def add_label_noise(self, noise: float, flips: float) -> None:
        """Do nothing: a critic has no labels."""


@dataclass(frozen=True)
class Hinge:
    """Hinge loss (Lim and Ye 2017), with which SNGAN trains (Miyato et al. 2018).

    D gains nothing by scores of real images above 1, or of fake ones below -1.
    """

    config: HingeConfig
    penalty: Penalty = NO_PENALTY
    g_needs_real_scores: bool = False
    separate: bool = True

    @property
    def n_critic(self) -> int:
        return self.config.n_critic

    def d_loss(
        self, real_scores: Tensor, fake_scores: Tensor, rng: PositionalRNG
    ) -> tuple[Tensor, Metrics]:
        """Return the mean of max(0, 1 - D(x)) plus that of max(0, 1 + D(G(z))), as in the papers.

        It is 2 for a D that guesses, and 0 once no image is within its margin.
        """
        loss = relu(1 - real_scores).mean() + relu(1 + fake_scores).mean()
        return loss, {
            **accuracies(real_scores, fake_scores),
            "health/d_logit_margin": real_scores.mean() - fake_scores.mean(),
        }

    def g_loss(
        self, fake_scores: Tensor, real_scores: Tensor | None = None
    ) -> tuple[Tensor, Metrics]:
        """Return the negative of D's mean score of fake images; it has no bound."""
        loss = -fake_scores.mean()
        return loss, {"loss/generator": loss}

    def add_label_noise(self, noise: float, flips: float) -> None:
        """Do nothing: scores within a margin have no labels."""


@dataclass(frozen=True)
class Rpgan:
    """Relativistic pairing (Jolicoeur-Martineau 2018): how much more real x looks than G(z).

    The i-th real image is paired with the i-th generated one. D's scores mean nothing by
    themselves: a constant added to all of them changes no loss. Without R1 and R2, which R3GAN
    (Huang et al. 2024) adds, gradient descent need not converge.
    """

    config: RpganConfig
    penalty: Penalty = NO_PENALTY
    g_needs_real_scores: bool = True
    separate: bool = False

    @property
    def n_critic(self) -> int:
        return self.config.n_critic

    def d_loss(
        self, real_scores: Tensor, fake_scores: Tensor, rng: PositionalRNG
    ) -> tuple[Tensor, Metrics]:
        """Return the mean of -log sigmoid(D(x) - D(G(z))); log 2 for a D that guesses."""
        margins = real_scores - fake_scores
        return softplus(-margins).mean(), {
            "health/d_pair_accuracy": (margins > 0).float().mean(),
            "health/d_logit_margin": margins.mean(),
        }

    def g_loss(
        self, fake_scores: Tensor, real_scores: Tensor | None = None
    ) -> tuple[Tensor, Metrics]:
        """Return the mean of -log sigmoid(D(G(z)) - D(x)).

        Raises ValueError without real scores.
        """
        if real_scores is None:
            raise ValueError("rpgan pairs scores of generated images with those of real ones")
        loss = softplus(real_scores.detach() - fake_scores).mean()
        return loss, {"loss/generator": loss}

    def add_label_noise(self, noise: float, flips: float) -> None:
        """Do nothing: pairs have no labels."""


def make_objective(config: Config) -> Objective:
    """Build the objective of a run."""
    match config.objective:
        case DcganConfig() as section:
            return Dcgan(section, zero_centred(section, config))
        case WganGpConfig() as section:
            return WganGp(section)
        case HingeConfig() as section:
            return Hinge(section, zero_centred(section, config))
        case RpganConfig() as section:
            return Rpgan(section, zero_centred(section, config))


def constants(objective: Objective, moment: Moment) -> tuple[float, ...]:
    """Return what decides how a step at `moment` computes, besides the config."""
    added = (objective.extra_noise, objective.extra_flips) if isinstance(objective, Dcgan) else ()
    return *added, objective.penalty.is_due(moment)


def zero_centred(section: ZeroCentredConfig, config: Config) -> ZeroCentred:
    """Build R1 and R2 as a run's objective has them."""
    size, batch = config.data.size, config.training.batch_size
    return ZeroCentred(
        r1_gamma=gamma_of(section.r1_gamma, size, batch),
        r2_gamma=gamma_of(section.r2_gamma, size, batch),
        every=section.penalty_every,
    )


def chosen_gammas(config: Config) -> list[str]:
    """Return a line that says what the `auto` of R1 and R2 is in this run, if they have it."""
    keys = [
        key for key in ("r1_gamma", "r2_gamma") if getattr(config.objective, key, None) == "auto"
    ]
    if not keys:
        return []
    size, batch = config.data.size, config.training.batch_size
    return [
        f"objective.{' and '.join(keys)}: auto is {gamma_of('auto', size, batch):.4g} for "
        f"{size}x{size} images and a batch of {batch}"
    ]


def metric_names(objective: Objective, *, conditioned: bool = False) -> list[str]:
    """Return the names of the losses and health metrics that an iteration logs.

    conditioned: whether the networks get classes.
    """
    rng, image = PositionalRNG(0, 0, 2), torch.zeros(2, 1, 1, 1, requires_grad=True)
    scored = Scored(image, image, image.flatten())
    metrics = [
        objective.d_loss(scored.scores, scored.scores, rng)[1],
        objective.penalty(torch.flatten, scored, scored, rng, Moment())[1],
        objective.g_loss(scored.scores, scored.scores)[1],
        image_signals(image, image),
    ]
    if conditioned:
        images = Images(image, torch.zeros(2, dtype=torch.int64))
        metrics.append(class_signals(images, images))
    of_networks = [f"health/{n}_{what}" for what in ("grad_norm", "weight_change") for n in "dg"]
    return ["loss/discriminator", *(name for each in metrics for name in each), *of_networks]


def accuracies(real_scores: Tensor, fake_scores: Tensor) -> Metrics:
    """Return the fractions of real and of fake images that D classifies correctly, at score 0."""
    return {
        "health/d_accuracy_real": (real_scores > 0).float().mean(),
        "health/d_accuracy_fake": (fake_scores < 0).float().mean(),
    }
