"""The alternating training of the two players: the discriminator's step, the generator's, the loop.

Radford et al. 2016 for DCGAN, algorithm 1 of Gulrajani et al. 2017 for WGAN-GP, and the GAN chapter
of *Generative Deep Learning*. Progress is counted in real images that D has seen.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from gantrain.draws import Positions, Purpose, draw_normal, mixed_seed
from gantrain.gan import Gan, frozen
from gantrain.meter import Meter, mean_metrics
from gantrain.objectives import Metrics, Objective
from gantrain.run import Run


def train(gan: Gan, objective: Objective, real: Iterator[Tensor], run: Run, meter: Meter) -> None:
    """Train from where the run stands to its end.

    real: gives this rank's share of each next batch, float32 (N, C, S, S) in [-1, 1].
    Raises what ends a run before its time: RollBack, StoppedError.
    """
    batch = run.config.training.batch_size
    while run.unfinished:
        for _ in range(objective.n_critic):
            with run.heart.phase("data"):
                x = next(real)
            with run.heart.phase("D"):
                meter.add(d_step(gan, objective, x, run.share(run.images_seen), run.parts))
            run.images_seen += batch
        with run.heart.phase("G"):
            meter.add(g_step(gan, objective, run.share(run.g_steps * batch), run.parts))
        run.g_steps += 1
        gan.ema.update(gan.generator, batch * objective.n_critic, run.images_seen)
        run.after_iteration(gan, meter)


def d_step(gan: Gan, objective: Objective, real: Tensor, at: Positions, parts: int = 1) -> Metrics:
    """One step of the discriminator on a real batch and a fresh fake one; G stays as it is."""
    metrics = []
    for i, (x, here) in enumerate(zip(real.chunk(parts), at.chunk(parts), strict=True)):
        torch.manual_seed(mixed_seed(here.seed, Purpose.D_DROPOUT, here.start))
        z = draw_normal(here, Purpose.D_LATENTS, gan.latent_size).to(x.device)
        with torch.no_grad(), frozen(gan.generator):
            fake = gan.generate(z)
        x = gan.augment(x, here, Purpose.D_REAL_AUGMENT)
        fake = gan.augment(fake, here, Purpose.D_FAKE_AUGMENT)
        with gan.accumulating(gan.discriminator, last=i == parts - 1):
            loss, explained = objective.d_loss(
                gan.synced_discriminate, gan.exact_discriminate, x, fake, here
            )
            gan.accelerator.backward(loss / parts)
        metrics.append(explained)
    norm = gan.apply_gradients(gan.discriminator)
    return mean_metrics(metrics) | {"health/d_grad_norm": norm}


def g_step(gan: Gan, objective: Objective, at: Positions, parts: int = 1) -> Metrics:
    """One step of the generator against the discriminator, which stays as it is."""
    metrics = []
    for i, here in enumerate(at.chunk(parts)):
        torch.manual_seed(mixed_seed(here.seed, Purpose.G_DROPOUT, here.start))
        z = draw_normal(here, Purpose.G_LATENTS, gan.latent_size).to(gan.accelerator.device)
        with frozen(gan.discriminator), gan.accumulating(gan.generator, last=i == parts - 1):
            fake = gan.augment(gan.synced_generate(z), here, Purpose.G_AUGMENT)
            loss, explained = objective.g_loss(gan.discriminate(fake))
            gan.accelerator.backward(loss / parts)
        metrics.append(explained)
    norm = gan.apply_gradients(gan.generator)
    return mean_metrics(metrics) | {"health/g_grad_norm": norm}
