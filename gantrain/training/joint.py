"""Joint updates: both gradients from one forward pass, as in the train_step of the book's code."""

from collections.abc import Iterator

from gantrain.common.rng import Stream
from gantrain.data.loading.datasets import Images
from gantrain.training.batch import Batch
from gantrain.training.d_loss import d_losses
from gantrain.training.gan import Gan
from gantrain.training.loop import next_batch, train_d
from gantrain.training.meter import mean_metrics
from gantrain.training.objectives import Objective
from gantrain.training.penalties import Metrics
from gantrain.training.services import Services
from gantrain.training.state import TrainingState


def joint(
    gan: Gan,
    objective: Objective,
    real: Iterator[Images],
    state: TrainingState,
    services: Services,
) -> None:
    """Train D for n_critic - 1 steps, then D and G together for one."""
    for _ in range(objective.n_critic - 1):
        train_d(gan, objective, real, state, services)
    batch = next_batch(real, state, services)
    with services.heartbeat.phase("D and G"):
        for metrics in services.steps.run(joint_step, gan, objective, batch):
            services.meter.add(metrics)
    state.images_seen += state.batch_size


def joint_step(gan: Gan, objective: Objective, batch: Batch) -> tuple[Metrics, Metrics]:
    """Update D and G from one forward pass, before either has changed; return D's and G's metrics.

    One pass of G, and one of D over its images, fewer than a D step and a G step take.
    """
    d_metrics, g_metrics = [], []
    networks = gan.discriminator, gan.generator
    for micro in gan.micro_batches(batch, Stream.D_DROPOUT, *networks):
        classes = gan.fake_classes(micro, Stream.D_CLASSES)
        fake = Images(gan.ddp_generate(gan.latents(micro.rng, Stream.D_LATENTS), classes), classes)
        d_loss, real_scores, fake_scores, metrics = d_losses(gan, objective, micro, fake)
        g_loss, more = objective.g_loss(fake_scores, real_scores)
        gan.backward(d_loss, gan.discriminator, keep_graph=True)
        gan.backward(g_loss, gan.generator)
        d_metrics.append(metrics)
        g_metrics.append(more)
    d_norm, g_norm = (gan.apply_gradients(network) for network in networks)
    return (
        mean_metrics(d_metrics) | {"health/d_grad_norm": d_norm},
        mean_metrics(g_metrics) | {"health/g_grad_norm": g_norm},
    )
