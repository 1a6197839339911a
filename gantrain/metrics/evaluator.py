"""Evaluation of the generator during training, with the images divided among the ranks."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from gantrain.common.errors import UserError, describe
from gantrain.common.grids import quantize, require_finite
from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import Config
from gantrain.config.quality import images_for_fid
from gantrain.data.loading.datasets import ImageDataset
from gantrain.data.loading.selection import held_out_rows
from gantrain.metrics.by_class import Labels
from gantrain.metrics.features import Features, choose_features, open_features
from gantrain.metrics.floor import Marks, open_floor
from gantrain.metrics.measure import measure, sizes_of
from gantrain.metrics.reference import Reference, open_reference
from gantrain.metrics.support import Sizes, measured_names, notices
from gantrain.models.networks import Generator

logger = logging.getLogger(__name__)

_BATCH_SIZE = 256
_TRIAL_SAMPLES = 16

Result = TypeVar("Result")


class Evaluator:
    """Measures generators. All ranks call it together, and what fails on one is raised on all."""

    def __init__(self, config: Config, dataset: ImageDataset, accelerator: Accelerator) -> None:
        self._config = config
        self._dataset = dataset
        self._accelerator = accelerator
        self._opened: tuple[Features, Reference] | None = None

    def prepare(self, generator: Generator) -> None:
        """Open the features and the reference, and measure a few images to try everything.

        Raises UserError if the metrics cannot be measured.
        """
        with _naming_the_way_out():
            self._measure(generator, _TRIAL_SAMPLES)

    def measure(self, generator: Generator) -> dict[str, float]:
        """Return the `quality/…` metrics of `metrics.samples` images, and their `interval/…`.

        With conditioning, also `class/…`. They are equal on all ranks. Raises UserError, on all
        ranks, if they cannot be measured.
        """
        return self._measure(generator, self._config.metrics.samples)

    def floor(self) -> Marks:
        """Return what real images score, as `open_floor`; empty on all ranks but the first.

        A collective call. Raises UserError, on all ranks, if it cannot be measured.
        """

        def measure_real() -> Marks:
            if not self._accelerator.is_main_process:
                return {}
            config = self._config
            return open_floor(
                self._dataset, features, reference, config.data, config.metrics.samples
            )

        with _naming_the_way_out():
            features, reference = self._together(self._open)
            return self._together(measure_real)

    def _measure(self, generator: Generator, count: int) -> dict[str, float]:
        features, reference = self._together(self._open)

        def describe_images() -> tuple[Tensor, Tensor, Tensor]:
            rank, ranks = self._accelerator.process_index, self._accelerator.num_processes
            images = generate_images(generator, self._config.seed, count, rank, ranks)
            return images.contiguous(), *features.describe(images)

        images, described, logits = self._together(describe_images)
        gather = self._accelerator.gather
        images, described = (gather(t)[:count] for t in (images, described))
        if features.classes:
            logits = gather(logits)[:count]

        def measure_images() -> dict[str, float]:
            if not self._accelerator.is_main_process:
                return {}
            labels = Labels.asked_for(generator, self._config.seed, count)
            return measure(images, described, logits, features, reference, labels).logged()

        metrics = [self._together(measure_images)]
        # Broadcast, since remedies depend on the metrics, and two machines may round differently.
        broadcast_object_list(metrics)
        return metrics[0]

    def names(self) -> list[str]:
        """Return the names of the metrics that this run measures; none if it measures none.

        Before `prepare`, those that depend on how good the data set's classifier is count as
        measured.

        Raises UserError if the data set does not have what metrics.features needs.
        """
        data, metrics, cache = self._config.data, self._config.metrics, self._dataset.decoded
        if not metrics.every_kimg:
            return []
        class_names = self._dataset.class_counts().keys()
        conditioned = len(class_names)
        if self._opened is not None:
            features, reference = self._opened
            sizes = sizes_of(reference, features, metrics.samples, conditioned)
            return measured_names(features.name, sizes)
        with _naming_the_way_out():
            choice = choose_features(metrics.features, data, has_cache=cache is not None)
        held_out = 0
        if cache is not None:
            held_out = len(held_out_rows(cache.table, data, class_names))
        sizes = Sizes(
            samples=metrics.samples,
            real=self._dataset.total,
            held_out=min(held_out, metrics.samples),
            dimension=images_for_fid(choice.name) // 2,
            labels=choice.with_classes and cache is not None,
            conditioned=conditioned,
        )
        return measured_names(choice.name, sizes)

    def _open(self) -> tuple[Features, Reference]:
        if self._opened is None:
            data, metrics = self._config.data, self._config.metrics
            # One rank of each machine trains the classifier; the others wait and load it.
            features = open_features(
                metrics.features, data, self._dataset.decoded, self._accelerator.device
            )
            reference = open_reference(self._dataset, features, data, metrics.samples)
            logger.info(f"metrics: {features.description}")
            conditioned = len(self._dataset.class_counts())
            sizes = sizes_of(reference, features, metrics.samples, conditioned)
            for notice in notices(features.name, sizes):
                logger.info(f"metrics: {notice}")
            self._opened = features, reference
        return self._opened

    def _together(self, work: Callable[[], Result]) -> Result:
        """Return what this rank's work returns; if that of any rank fails, raise the same on all.

        Otherwise the other ranks would wait for ever in the next collective call.
        """
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:
            failure = error
        reasons: list[str] = gather_object([describe(failure) if failure else ""])
        failed = [(rank, reason) for rank, reason in enumerate(reasons) if reason]
        if failed:
            rank, reason = failed[0]
            where = f"rank {rank}: " if len(reasons) > 1 and len(failed) < len(reasons) else ""
            raise UserError(where + reason) from failure
        return result


@contextmanager
def _naming_the_way_out() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}\n  To train without metrics: metrics.every_kimg=0.") from None


@torch.no_grad()
def generate_images(
    generator: Generator, seed: int, count: int, rank: int = 0, world_size: int = 1
) -> Tensor:
    """Return this rank's part of `count` generated images, uint8 (n, C, S, S).

    They are on the generator's device. Each image depends only on the seed and its index; with
    conditioning, classes occur as often as in training. All ranks generate equally many, so that
    the last one may go beyond `count`.

    Raises UserError if any pixel is NaN or infinite.
    """
    per_rank = -(-count // world_size)
    device = next(generator.parameters()).device
    batches = []
    for start in range(0, per_rank, _BATCH_SIZE):
        size = min(_BATCH_SIZE, per_rank - start)
        rng = PositionalRNG(seed, rank * per_rank + start, size)
        latents = rng.normal(Stream.METRICS, generator.latent_size).to(device)
        classes = generator.conditioning.draw(rng, Stream.METRICS_CLASSES)
        images = generator(latents, classes)
        require_finite(images)
        batches.append(quantize(images))
    return torch.cat(batches)
