"""The metrics of a trained run, outside its training."""

from dataclasses import dataclass
from pathlib import Path

import torch

from gantrain.data.loading.opening import open_dataset
from gantrain.data.loading.scratch import open_store
from gantrain.inference.export import load_run
from gantrain.metrics.evaluator import draw_images
from gantrain.metrics.features import features_folder, open_features
from gantrain.metrics.measure import floor, measure
from gantrain.metrics.reference import open_reference


@dataclass(frozen=True)
class Evaluation:
    """scores: `quality/…` of the generator. floor: the same of held-out images, where there are
    any. notice: whose features. shards: the set."""

    scores: dict[str, float]
    floor: dict[str, float]
    notice: str
    shards: str


def evaluate_run(
    run: Path,
    samples: int,
    seed: int,
    features: str,
    shards: Path | None,
) -> Evaluation:
    """Measure the EMA generator of a run directory or an exported file on `samples` images.

    Raises UserError if the run or its set cannot be read.
    """
    generator, config = load_run(run)
    data = config.data.model_copy(update={"shards": shards} if shards else {})
    dataset = open_dataset(data)
    seen_by = open_features(features, data, dataset.decoded, torch.device("cpu"))
    store = open_store(data)
    folder = features_folder(store, store.manifest())
    reference = open_reference(dataset, seen_by, data, samples, folder)
    images = draw_images(generator, seed, samples)
    scores = measure(images, *seen_by.describe(images), seen_by, reference)
    return Evaluation(scores, floor(seen_by, reference), seen_by.notice, str(data.shards))
