"""What the critic says of images that it is never trained on, as the paper's own code logs it.

Gulrajani et al. 2017. Where it falls behind the same estimate on training images, the critic knows
these by heart.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import Config
from gantrain.data.loading.datasets import ImageDataset, scaled
from gantrain.training.gan import Gan

NAME = "loss/critic_held_out"


def open_held_out(config: Config, dataset: ImageDataset) -> ImageDataset | None:
    """Return the held-out images of a run with a critic; None without a critic or such images."""
    return dataset.held_out(config.data) if config.objective.kind == "wgan-gp" else None


@torch.no_grad()
def score_held_out(gan: Gan, held_out: ImageDataset, rng: PositionalRNG) -> dict[str, float]:
    """Return the critic's mean score of held-out images minus that of EMA samples.

    rng: this rank's positions in a batch of each. Equal on all ranks, and the same each time that
    it is computed at one place of a run; nothing that is trained changes. Empty if it is not
    finite. A collective call, which waits for the device.
    """
    device = gan.accelerator.device
    images, classes = held_out.labelled_images(rng)
    real = scaled(images, gan.layout).to(device)
    fake = gan.ema.generator(gan.latents(rng, Stream.HELD_OUT), classes)
    with _evaluating(gan.discriminator):
        # Not the compiled form, which would be compiled anew for the evaluation mode.
        real_scores = gan.discriminate_for_penalty(real, classes)
        fake_scores = gan.discriminate_for_penalty(fake, classes)
    distance = gan.accelerator.reduce(real_scores.mean() - fake_scores.mean(), "mean")
    return {NAME: float(distance)} if distance.isfinite() else {}


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Within it, a network is in evaluation mode: no dropout, and nothing is counted."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
