"""The alternating training of the two players: the discriminator's step, the generator's, the loop.

Radford et al. 2016 for DCGAN, algorithm 1 of Gulrajani et al. 2017 for WGAN-GP, and the GAN chapter
of *Generative Deep Learning*. Progress is counted in real images that D has seen.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.training.gan import Gan, frozen
from gantrain.training.meter import Meter, mean_metrics
from gantrain.training.objectives import Metrics, Objective, pairwise_diversity
from gantrain.training.run import Run


def train(gan: Gan, objective: Objective, real: Iterator[Tensor], run: Run, meter: Meter) -> None:
    """Train from where the run stands to its end.

    real: gives this rank's share of each next batch, float32 (N, C, S, S) in [-1, 1].
    Raises what ends a run before its time: RollBack, StoppedError.
    """
    batch = run.config.training.batch_size
    joint = run.config.training.updates == "joint"
    while run.unfinished:
        for _ in range(objective.n_critic - joint):
            x, at, step = next_batch(real, run)
            with run.heart.phase("D"):
                meter.add(d_step(gan, objective, x, at, step, run.parts))
            run.images_seen += batch
        if joint:
            x, at, step = next_batch(real, run)
            with run.heart.phase("D and G"):
                for metrics in joint_step(gan, objective, x, at, step, run.parts):
                    meter.add(metrics)
            run.images_seen += batch
        else:
            with run.heart.phase("G"):
                meter.add(g_step(gan, objective, run.share(run.g_steps * batch), run.parts))
        run.g_steps += 1
        gan.ema.update(gan.generator, batch * objective.n_critic, run.images_seen)
        run.after_iteration(gan, meter)


def next_batch(real: Iterator[Tensor], run: Run) -> tuple[Tensor, PositionalRNG, int]:
    """This rank's next real batch, its positions, and the number of the D step that takes it."""
    with run.heart.phase("data"):
        x = next(real)
    return x, run.share(run.images_seen), run.images_seen // run.config.training.batch_size


def d_step(
    gan: Gan, objective: Objective, real: Tensor, rng: PositionalRNG, step: int = 0, parts: int = 1
) -> Metrics:
    """One step of the discriminator on a real batch and a fresh fake one; G stays as it is."""
    metrics = []
    for i, (x, here) in enumerate(zip(real.chunk(parts), rng.split(parts), strict=True)):
        here.seed_torch(Stream.D_DROPOUT, x.device)
        z = here.normal(Stream.D_LATENTS, gan.latent_size).to(x.device)
        with torch.no_grad(), frozen(gan.generator):
            fake = gan.generate(z)
        with gan.accumulating(gan.discriminator, last=i == parts - 1):
            loss, _, explained = d_losses(gan, objective, x, fake, here, step)
            gan.backward(loss / parts, gan.discriminator)
        metrics.append(explained)
    norm = gan.apply_gradients(gan.discriminator)
    return mean_metrics(metrics) | {"health/d_grad_norm": norm}


def g_step(gan: Gan, objective: Objective, rng: PositionalRNG, parts: int = 1) -> Metrics:
    """One step of the generator against the discriminator, which stays as it is."""
    metrics, device = [], gan.accelerator.device
    for i, here in enumerate(rng.split(parts)):
        here.seed_torch(Stream.G_DROPOUT, device)
        z = here.normal(Stream.G_LATENTS, gan.latent_size).to(device)
        with frozen(gan.discriminator), gan.accumulating(gan.generator, last=i == parts - 1):
            fake = gan.augment(gan.ddp_generate(z), here, Stream.G_AUGMENT)
            loss, explained = objective.g_loss(gan.discriminate(fake))
            gan.backward(loss / parts, gan.generator)
        metrics.append(explained)
    norm = gan.apply_gradients(gan.generator)
    return mean_metrics(metrics) | {"health/g_grad_norm": norm}


def joint_step(
    gan: Gan, objective: Objective, real: Tensor, rng: PositionalRNG, step: int = 0, parts: int = 1
) -> tuple[Metrics, Metrics]:
    """A step of both players from one pass, before either moves, as the book's train_step does it.

    One pass of G, and one of D over its images, less than two steps take. Metrics of D and of G.
    """
    of_d, of_g = [], []
    for i, (x, here) in enumerate(zip(real.chunk(parts), rng.split(parts), strict=True)):
        here.seed_torch(Stream.D_DROPOUT, x.device)
        z = here.normal(Stream.D_LATENTS, gan.latent_size).to(x.device)
        with gan.accumulating(gan.discriminator, gan.generator, last=i == parts - 1):
            fake = gan.ddp_generate(z)
            d_loss, fake_scores, explained = d_losses(gan, objective, x, fake, here, step)
            g_loss, of_this = objective.g_loss(fake_scores)
            gan.backward(d_loss / parts, gan.discriminator, keep_graph=True)
            gan.backward(g_loss / parts, gan.generator)
        of_d.append(explained)
        of_g.append(of_this)
    d_norm = gan.apply_gradients(gan.discriminator)
    g_norm = gan.apply_gradients(gan.generator)
    return (
        mean_metrics(of_d) | {"health/d_grad_norm": d_norm},
        mean_metrics(of_g) | {"health/g_grad_norm": g_norm},
    )


def d_losses(
    gan: Gan, objective: Objective, real: Tensor, fake: Tensor, rng: PositionalRNG, step: int
) -> tuple[Tensor, Tensor, Metrics]:
    """D's loss on real and fake images, its scores of the fake ones, and what explains it."""
    x = gan.augment(real, rng, Stream.D_REAL_AUGMENT)
    shown = gan.augment(fake, rng, Stream.D_FAKE_AUGMENT)
    with gan.accelerator.autocast():  # around all passes of D, so that its weights are cast once
        real_scores, fake_scores = gan.ddp_discriminate(x), gan.ddp_discriminate(shown)
        penalty, more = objective.penalty(
            gan.discriminate_for_penalty, x, shown.detach(), rng, step
        )
    loss, explained = objective.d_loss(real_scores, fake_scores, rng)
    loss = loss + penalty
    explained = {"loss/discriminator": loss, **explained, **more, **pairwise_diversity(x, shown)}
    return loss, fake_scores, explained
