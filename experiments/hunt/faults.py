"""Faults that no setting makes: each is a context in which a run is trained."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import gantrain.train
from experiments.training import replaced, without_two_sample_tests
from gantrain.config import ConditioningConfig, Config, DataConfig
from gantrain.data.loading.datasets import ImageDataset, Images
from gantrain.data.loading.opening import open_dataset
from gantrain.metrics import by_pixels
from gantrain.metrics.evaluator import Evaluator
from gantrain.models.networks import Generator
from gantrain.training import loop
from gantrain.training.batch import Batch
from gantrain.training.gan import Gan
from gantrain.training.objectives import Objective
from gantrain.training.services import Services
from gantrain.training.state import TrainingState

Fault = Callable[[float], AbstractContextManager[None]]  # of the kimg at which it begins


@contextmanager
def half_range(at_kimg: float) -> Iterator[None]:
    """The generator can use half of the range of pixels only."""
    with _generator(lambda forward, z: 0.5 * forward(z)):
        yield


@contextmanager
def saturated(at_kimg: float) -> Iterator[None]:
    """All generated pixels are black or white; the gradient is that of the images before."""

    def forward_extremes(forward: Callable[[Tensor], Tensor], latents: Tensor) -> Tensor:
        images = forward(latents)
        return images + (images.sign() - images).detach()

    with _generator(forward_extremes):
        yield


@contextmanager
def few_images(at_kimg: float) -> Iterator[None]:
    """The generator knows ten latents only, and so makes about one image of each class."""

    def forward_few(forward: Callable[[Tensor], Tensor], latents: Tensor) -> Tensor:
        known = torch.randn(10, latents.shape[1], generator=torch.Generator().manual_seed(0))
        return forward(known.to(latents)[latents[:, :10].argmax(1)])

    with _generator(forward_few):
        yield


@contextmanager
def missing_classes(at_kimg: float) -> Iterator[None]:
    """Train without two classes of the data, and measure against all of them."""

    def open_some(data: DataConfig, conditioning: ConditioningConfig) -> ImageDataset:
        classes = tuple(open_dataset(data).manifest.classes)
        return open_dataset(data.model_copy(update={"classes": classes[2:]}), conditioning)

    def of_all_classes(config: Config, dataset: ImageDataset, accelerator: Any) -> Evaluator:
        return Evaluator(config, open_dataset(config.data), accelerator)

    with (
        replaced(gantrain.train, "open_dataset", open_some),
        replaced(gantrain.train, "Evaluator", of_all_classes),
    ):
        yield


@contextmanager
def late_noise(at_kimg: float) -> Iterator[None]:
    """From some time on, real images are hidden under noise."""

    def add_noise(gan: Gan, images: Tensor) -> Tensor:
        return (images + torch.randn_like(images)).clamp(-1, 1)

    with _from(at_kimg, add_noise):
        yield


@contextmanager
def late_steps(at_kimg: float) -> Iterator[None]:
    """From some time on, both learning rates are 50 times as high."""

    def speed_up(gan: Gan, images: Tensor) -> Tensor:
        gan.scale_learning_rates(50.0)
        return images

    with _from(at_kimg, speed_up):
        yield


@contextmanager
def late_stop_of_d(at_kimg: float) -> Iterator[None]:
    """From some time on, the discriminator learns nothing."""

    def stop(gan: Gan, images: Tensor) -> Tensor:
        gan.set_rate_factors(g=1.0, d=1e-12)
        return images

    with _from(at_kimg, stop):
        yield


@contextmanager
def quick_measurements() -> Iterator[None]:
    """Leave out the metrics that take three quarters of a measurement and that no diagnosis reads.

    What is not finite is not logged.
    """

    def nothing(*images: Tensor) -> tuple[float, tuple[float, float]]:
        return math.nan, (math.nan, math.nan)

    with ExitStack() as stack:
        stack.enter_context(without_two_sample_tests())
        for name in ("_swd", "_mean_pair_similarity", "_checkerboard"):
            stack.enter_context(replaced(by_pixels, name, nothing))
        yield


def no_fault(at_kimg: float) -> AbstractContextManager[None]:
    """Train as the config says."""
    return nullcontext()


@contextmanager
def _generator(change: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]) -> Iterator[None]:
    """Change what each generator makes. change: of its `forward` and the latents."""
    forward = Generator.forward

    def changed(self: Generator, latents: Tensor, classes: Tensor | None = None) -> Tensor:
        return change(lambda z: forward(self, z, classes), latents)

    with replaced(Generator, "forward", changed):
        yield


@contextmanager
def _from(at_kimg: float, change: Callable[[Gan, Tensor], Tensor]) -> Iterator[None]:
    """Change the networks or the real images of each D step from some time on."""
    train_d, next_batch = loop.train_d, loop.next_batch

    def changed(
        gan: Gan,
        objective: Objective,
        real: Iterator[Images],
        state: TrainingState,
        services: Services,
    ) -> Batch:
        def next_changed(*arguments: Any) -> Batch:
            batch = next_batch(*arguments)
            if state.images_seen < at_kimg * 1000:
                return batch
            return replace(batch, images=change(gan, batch.images))

        with replaced(loop, "next_batch", next_changed):
            return train_d(gan, objective, real, state, services)

    with replaced(loop, "train_d", changed):
        yield
