"""Evaluation of the generator during training, with the images divided among the ranks."""

import logging

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from gantrain.common.grids import quantize
from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import Config
from gantrain.data.loading.datasets import ImageDataset
from gantrain.metrics.features import Features, open_features
from gantrain.metrics.measure import measure
from gantrain.metrics.reference import Reference, open_reference
from gantrain.models.networks import Generator

logger = logging.getLogger(__name__)

_BATCH_SIZE = 256


class Evaluator:
    """Measures generators; opens features and reference at the first measurement."""

    def __init__(self, config: Config, dataset: ImageDataset, accelerator: Accelerator) -> None:
        self._config = config
        self._dataset = dataset
        self._accelerator = accelerator
        self._opened: tuple[Features, Reference] | None = None

    def measure(self, generator: Generator) -> dict[str, float]:
        """Return the `quality/…` metrics of `metrics.samples` images, equal on all ranks.

        All ranks must call it together.
        """
        features, reference = self._open()
        count = self._config.metrics.samples
        images = generate_images(
            generator,
            self._config.seed,
            count,
            self._accelerator.process_index,
            self._accelerator.num_processes,
        )
        gather = self._accelerator.gather
        described, logits = features.describe(images)
        images, described = (gather(t)[:count] for t in (images.contiguous(), described))
        if features.classes:
            logits = gather(logits)[:count]
        metrics: list[dict[str, float]] = [{}]
        if self._accelerator.is_main_process:
            metrics = [measure(images, described, logits, features, reference)]
        # Broadcast, since remedies depend on the metrics, and two machines may round differently.
        broadcast_object_list(metrics)
        return metrics[0]

    def _open(self) -> tuple[Features, Reference]:
        if self._opened is None:
            data, metrics = self._config.data, self._config.metrics
            # One rank of each machine trains the classifier; the others wait and load it.
            features = open_features(
                metrics.features, data, self._dataset.decoded, self._accelerator.device
            )
            reference = open_reference(self._dataset, features, data, metrics.samples)
            logger.info(f"metrics: {features.description}")
            self._opened = features, reference
        return self._opened


@torch.no_grad()
def generate_images(
    generator: Generator, seed: int, count: int, rank: int = 0, world_size: int = 1
) -> Tensor:
    """Return this rank's part of `count` generated images, uint8 (n, C, S, S).

    They are on the generator's device. Each image depends only on the seed and its index. All ranks
    generate equally many, so that the last one may go beyond `count`.
    """
    per_rank = -(-count // world_size)
    device = next(generator.parameters()).device
    batches = []
    for start in range(0, per_rank, _BATCH_SIZE):
        size = min(_BATCH_SIZE, per_rank - start)
        rng = PositionalRNG(seed, rank * per_rank + start, size)
        latents = rng.normal(Stream.METRICS, generator.latent_size).to(device)
        images = generator(latents)
        batches.append(quantize(images))
    return torch.cat(batches)
