"""Measures the generator while it trains, each rank its share of the images."""

import logging

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import Config
from gantrain.data.loading.datasets import ImageDataset
from gantrain.data.loading.scratch import open_store
from gantrain.metrics.features import Features, features_folder, open_features
from gantrain.metrics.measure import measure
from gantrain.metrics.reference import Reference, open_reference
from gantrain.models.networks import Generator

logger = logging.getLogger(__name__)

_AT_ONCE = 256


class Evaluator:
    """Opens what it needs at the first measurement. All ranks must call it together."""

    def __init__(
        self,
        config: Config,
        dataset: ImageDataset,
        accelerator: Accelerator,
    ) -> None:
        self._config = config
        self._dataset = dataset
        self._accelerator = accelerator
        self._opened: tuple[Features, Reference] | None = None

    def measure(self, generator: Generator) -> dict[str, float]:
        """`quality/…` of `metrics.samples` images, equal on all ranks."""
        features, reference = self._open()
        images = draw_images(
            generator, self._config.seed, self._config.metrics.samples, self._accelerator
        )
        gather = self._accelerator.gather
        described, logits = features.describe(images)
        count = self._config.metrics.samples
        images, described = (gather(t)[:count] for t in (images.contiguous(), described))
        if features.parts:
            logits = gather(logits)[:count]
        found: list[dict[str, float]] = [{}]
        if self._accelerator.is_main_process:
            found = [measure(images, described, logits, features, reference)]
        # Decisions hang on them, and two machines may round differently.
        broadcast_object_list(found)
        return found[0]

    def _open(self) -> tuple[Features, Reference]:
        if self._opened is None:
            data, wanted = self._config.data, self._config.metrics
            # A machine's ranks wait for the one that learns; then each reads what it left.
            features = open_features(
                wanted.features, data, self._dataset.decoded, self._accelerator.device
            )
            store = open_store(data)
            folder = features_folder(store, store.manifest())
            reference = open_reference(self._dataset, features, data, wanted.samples, folder)
            logger.info(f"metrics: {features.notice}")
            self._opened = features, reference
        return self._opened


@torch.no_grad()
def draw_images(
    generator: Generator, seed: int, count: int, accelerator: Accelerator | None = None
) -> Tensor:
    """This rank's share of `count` images, uint8 (share, C, S, S), on the generator's device.

    Each depends on the seed and its position alone. All shares are of one length, so that the
    last one may reach past `count`.
    """
    ranks, rank = 1, 0
    if accelerator is not None:
        ranks, rank = accelerator.num_processes, accelerator.process_index
    share = -(-count // ranks)
    device = next(generator.parameters()).device
    made = []
    for start in range(0, share, _AT_ONCE):
        rng = PositionalRNG(seed, rank * share + start, min(_AT_ONCE, share - start))
        latents = rng.normal(Stream.METRICS, generator.latent_size).to(device)
        images = generator(latents)
        made.append(images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(made)
