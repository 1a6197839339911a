"""Evaluation of a trained generator, outside its training."""

from dataclasses import dataclass

import torch

from gantrain.config import DataConfig
from gantrain.data.loading.opening import open_dataset
from gantrain.metrics.evaluator import generate_images
from gantrain.metrics.features import open_features
from gantrain.metrics.measure import measure, measure_held_out
from gantrain.metrics.reference import open_reference
from gantrain.models.networks import Generator


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a generator.

    scores: `quality/…` of the generated images.
    held_out: the same metrics of held-out real images; empty without any.
    features: description of the features, for display.
    """

    scores: dict[str, float]
    held_out: dict[str, float]
    features: str


def evaluate_generator(
    generator: Generator, data: DataConfig, *, samples: int, seed: int, features_kind: str
) -> Evaluation:
    """Measure a generator against the images of a data set, on the CPU.

    samples: number of images to generate.
    seed: seed of their latents.
    features_kind: a value of `metrics.features`.

    Raises UserError if the data set or the features are not available.
    """
    dataset = open_dataset(data)
    features = open_features(features_kind, data, dataset.decoded, torch.device("cpu"))
    reference = open_reference(dataset, features, data, samples)
    images = generate_images(generator, seed, samples)
    scores = measure(images, *features.describe(images), features, reference)
    return Evaluation(scores, measure_held_out(features, reference), features.description)
