"""The labels of DCGAN's D, and the cross-entropy with them."""

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config.objectives import DcganConfig

# Keras clips probabilities to [1e-7, 1 - 1e-7] before taking logarithms.
_KERAS_LOGIT = math.log((1 - 1e-7) / 1e-7)


def d_targets(
    config: DcganConfig, rng: PositionalRNG, extra_noise: float = 0.0, extra_flips: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return D's targets for real and for fake images, two float32 tensors (rng.count,).

    Smoothing lowers only the real target (Salimans et al. 2016). Noise moves both: `bounded` keeps
    them in [0, 1] and moves them towards each other; `book` moves them apart, with noise 0.1 up to
    1.1 and -0.1. A flipped image gets the target of the other kind. `extra_noise` is bounded.
    """
    numbers = rng.uniform(Stream.LABELS, 4).float()
    sign = 1.0 if config.label_noise_form == "bounded" else -1.0
    noise = sign * config.label_noise * numbers[:, :2]
    real = 1.0 - config.label_smoothing - noise[:, 0]
    fake = noise[:, 1]
    if extra_noise:
        real = real - extra_noise * numbers[:, 0]
        fake = fake + extra_noise * numbers[:, 1]
    flipped = numbers[:, 2:] < config.label_flips + extra_flips
    return torch.where(flipped[:, 0], fake, real), torch.where(flipped[:, 1], real, fake)


def cross_entropy(logits: Tensor, targets: Tensor, form: str) -> Tensor:
    """Return the mean binary cross-entropy.

    form: "book" clips the logits, because its targets lie outside [0, 1].
    """
    if form == "book":
        logits = logits.clamp(-_KERAS_LOGIT, _KERAS_LOGIT)
    return binary_cross_entropy_with_logits(logits, targets)
