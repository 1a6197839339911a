"""D's loss and its gradient, from one pass over both kinds of images or from one after the other.

Where the loss is a sum of a part for each kind and no penalty is due, the gradient of a part needs
only the pass of its own images. Taken in turn, D keeps the activations of N images instead of 2N.
"""

from functools import partial

import torch
from torch import Tensor

from gantrain.common.rng import Stream
from gantrain.data.loading.datasets import Images
from gantrain.training.batch import Batch
from gantrain.training.gan import Gan
from gantrain.training.image_signals import class_signals, image_signals
from gantrain.training.objectives import Objective
from gantrain.training.penalties import Metrics, Scored

# Images of a kind. Joining larger batches takes more memory, and saves hardly any time.
_LARGEST_JOINED = 128


def d_losses(
    gan: Gan, objective: Objective, batch: Batch, fake: Images
) -> tuple[Tensor, Tensor, Tensor, Metrics]:
    """Return D's loss with its penalty, D's scores of real and of fake images, and the metrics.

    If the loss has a part for each kind of images, the gradient of the part for real ones is added
    to D's weights here, and that of the returned loss is the other part alone.
    """
    if objective.separate and not objective.penalty.is_due(batch.moment):
        return _losses_in_turn(gan, objective, batch, fake)
    penalty = objective.penalty
    twice = of_real, of_fake = penalty.differentiates(batch.moment)
    images = differentiable(batch.images) if of_real else batch.images
    generated = differentiable(fake.images) if of_fake else fake.images
    x = gan.augment(images, batch.rng, Stream.D_REAL_AUGMENT)
    y = gan.augment(generated, batch.rng, Stream.D_FAKE_AUGMENT)
    with gan.accelerator.autocast():  # around all passes of D, so that its weights are cast once
        seen = Images(x, batch.classes), Images(y, fake.classes)
        real_scores, fake_scores = _scores(gan, *seen, twice)
        real, fakes = Scored(images, x, real_scores), Scored(generated, y, fake_scores)
        critic = partial(gan.discriminate_for_penalty, classes=batch.classes)
        added, penalty_metrics = penalty(critic, real, fakes, batch.rng, batch.moment)
    loss, metrics = objective.d_loss(real.scores, fakes.scores, batch.rng)
    loss = loss + added
    signals = _signals(gan, batch, fake, x, y, real_scores, fake_scores)
    metrics = {"loss/discriminator": loss, **metrics, **penalty_metrics, **signals}
    return loss, real_scores, fake_scores, metrics


def _scores(
    gan: Gan, real: Images, fake: Images, twice: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """Return D's scores of both kinds of images; see `Gan.ddp_discriminate`.

    They come from one pass where that changes nothing but the time: where a score depends on its
    own image only, and nothing is differentiated with respect to the images.
    """
    differentiated = (*twice, real.images.requires_grad, fake.images.requires_grad)
    small = len(real.images) <= _LARGEST_JOINED
    if not (gan.joins_batches and small) or any(differentiated):
        of_real, of_fake = (
            gan.ddp_discriminate(*images, twice=again)
            for images, again in zip((real, fake), twice, strict=True)
        )
        return of_real, of_fake
    classes = None
    if real.classes is not None and fake.classes is not None:
        classes = torch.cat([real.classes, fake.classes])
    scores = gan.ddp_discriminate(torch.cat([real.images, fake.images]), classes)
    return scores[: len(real.images)], scores[len(real.images) :]


def _losses_in_turn(
    gan: Gan, objective: Objective, batch: Batch, fake: Images
) -> tuple[Tensor, Tensor, Tensor, Metrics]:
    x = gan.augment(batch.images, batch.rng, Stream.D_REAL_AUGMENT)
    y = gan.augment(fake.images, batch.rng, Stream.D_FAKE_AUGMENT)
    with gan.accelerator.autocast():  # around both passes, so that D's weights are cast once
        with gan.without_exchange(gan.discriminator):
            real_scores = gan.ddp_discriminate(x, batch.classes)
            # The part of fake images is a constant here, whatever their scores are.
            loss, _ = objective.d_loss(real_scores, torch.zeros_like(real_scores), batch.rng)
            gan.backward(loss, gan.discriminator)
        real_scores = real_scores.detach()
        fake_scores = gan.ddp_discriminate(y, fake.classes)
    loss, metrics = objective.d_loss(real_scores, fake_scores, batch.rng)
    signals = _signals(gan, batch, fake, x, y, real_scores, fake_scores)
    metrics = {"loss/discriminator": loss, **metrics, **signals}
    return loss, real_scores, fake_scores, metrics


def _signals(
    gan: Gan,
    batch: Batch,
    fake: Images,
    x: Tensor,
    y: Tensor,
    real_scores: Tensor,
    fake_scores: Tensor,
) -> Metrics:
    """Return what is logged of both kinds of images beside the loss. x, y: what D saw of them."""
    return {
        **image_signals(x, y),
        **class_signals(Images(batch.images, batch.classes), fake),
        **gan.ada.observe(real_scores, fake_scores),
    }


def differentiable(images: Tensor) -> Tensor:
    """Return the images such that gradients with respect to them can be taken."""
    return images if images.requires_grad else images.detach().requires_grad_()
