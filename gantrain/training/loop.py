"""The training algorithm: the discriminator step, the generator step and the loop.

Radford et al. 2016 for DCGAN, algorithm 1 of Gulrajani et al. 2017 for WGAN-GP, and the GAN chapter
of *Generative Deep Learning*. Progress is counted in real images that D has seen.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from gantrain.common.rng import Stream
from gantrain.data.loading.datasets import Images
from gantrain.training.batch import Batch
from gantrain.training.d_loss import d_losses
from gantrain.training.frozen import frozen
from gantrain.training.gan import Gan
from gantrain.training.meter import mean_metrics
from gantrain.training.objectives import Objective
from gantrain.training.penalties import Metrics
from gantrain.training.services import Services
from gantrain.training.state import TrainingState

Iteration = Callable[[Gan, Objective, Iterator[Images], TrainingState, Services], None]


def train(
    gan: Gan,
    objective: Objective,
    real: Iterator[Images],
    state: TrainingState,
    services: Services,
    iterate: Iteration,
    after_iteration: Callable[[], None],
) -> None:
    """Train until D has seen as many images as the config asks for.

    real: yields this rank's part of each batch, float32 (N, C, S, S) in [-1, 1], with its classes.
    iterate: D steps and one G step, such as `alternating`.
    after_iteration: raises RollBack or StoppedError to end the training early.
    """
    while not state.finished:
        gan.follow_schedules(state.images_seen)
        iterate(gan, objective, real, state, services)
        state.g_steps += 1
        images = state.batch_size * objective.n_critic
        gan.ada.move(images)
        gan.ema.update(gan.generator, images, state.images_seen)
        after_iteration()


def alternating(
    gan: Gan,
    objective: Objective,
    real: Iterator[Images],
    state: TrainingState,
    services: Services,
) -> None:
    """Train D for n_critic steps, each on a new batch, then G for one."""
    for _ in range(objective.n_critic):
        batch = train_d(gan, objective, real, state, services)
    with services.heartbeat.phase("G"):
        batch = replace(batch, rng=state.g_rng)
        services.meter.add(services.steps.run(g_step, gan, objective, batch))


def train_d(
    gan: Gan,
    objective: Objective,
    real: Iterator[Images],
    state: TrainingState,
    services: Services,
) -> Batch:
    """Train D for one step on a new batch and return the batch."""
    batch = next_batch(real, state, services)
    with services.heartbeat.phase("D"):
        services.meter.add(services.steps.run(d_step, gan, objective, batch))
    state.images_seen += state.batch_size
    return batch


def d_step(gan: Gan, objective: Objective, batch: Batch) -> Metrics:
    """Update D on real images and as many newly generated ones; G stays as it is."""
    metrics = []
    for micro in gan.micro_batches(batch, Stream.D_DROPOUT, gan.discriminator):
        with torch.no_grad(), frozen(gan.generator):
            classes = gan.fake_classes(micro, Stream.D_CLASSES)
            fake = gan.generate(gan.latents(micro.rng, Stream.D_LATENTS), classes)
        loss, _, _, micro_metrics = d_losses(gan, objective, micro, Images(fake, classes))
        gan.backward(loss, gan.discriminator)
        metrics.append(micro_metrics)
    norm = gan.apply_gradients(gan.discriminator)
    return mean_metrics(metrics) | {"health/d_grad_norm": norm}


def g_step(gan: Gan, objective: Objective, batch: Batch) -> Metrics:
    """Update G against D, which stays as it is."""
    metrics = []
    for micro in gan.micro_batches(batch, Stream.G_DROPOUT, gan.generator):
        with frozen(gan.discriminator):
            classes = gan.fake_classes(micro, Stream.G_CLASSES)
            fake = gan.ddp_generate(gan.latents(micro.rng, Stream.G_LATENTS), classes)
            y = gan.augment(fake, micro.rng, Stream.G_AUGMENT)
            fake_scores = gan.discriminate(y, classes)
            real_scores = None
            if objective.g_needs_real_scores:
                with torch.no_grad():
                    x = gan.augment(micro.images, micro.rng, Stream.G_REAL_AUGMENT)
                    real_scores = gan.discriminate(x, micro.classes)
            loss, micro_metrics = objective.g_loss(fake_scores, real_scores)
            gan.backward(loss, gan.generator)
        metrics.append(micro_metrics)
    norm = gan.apply_gradients(gan.generator)
    return mean_metrics(metrics) | {"health/g_grad_norm": norm}


def next_batch(real: Iterator[Images], state: TrainingState, services: Services) -> Batch:
    """Return this rank's part of the batch for the next D step."""
    with services.heartbeat.phase("data"):
        images, classes = next(real)
    return Batch(images, state.d_rng, state.moment, classes)
