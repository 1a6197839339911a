"""What the checkpoints of a trial are worth: how near to the data, and how many show a class."""

from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from experiments.values import Values, remember
from gantrain.common.records import read_object
from gantrain.config import DataConfig
from gantrain.data.loading.labelled import open_labelled_dataset
from gantrain.data.loading.selection import held_out_rows, training_rows
from gantrain.inference.export import open_generator
from gantrain.metrics.by_class import Labels
from gantrain.metrics.by_pixels import nearest_metrics
from gantrain.metrics.classifier_store import prepare_classifier
from gantrain.metrics.evaluator import generate_images
from gantrain.metrics.reference import to_thumbnails
from gantrain.metrics.small_networks import in_batches
from gantrain.runs.paths import list_checkpoints

SAMPLES = 1000
UNSURE = 0.01  # fraction of the held-out images of which the classifier is taken to be unsure

_MEASURED = "measured"


class Judge:
    """The real images of a data set, and the classifier of its classes."""

    def __init__(self, data: DataConfig) -> None:
        labelled = open_labelled_dataset(data)
        training, held_out = (
            labelled.images[torch.from_numpy(rows(labelled.cache.table, data))]
            for rows in (training_rows, held_out_rows)
        )
        self._thumbnails = to_thumbnails(training), to_thumbnails(held_out)
        trained = prepare_classifier(data)
        self._network, self._classes = trained.network, trained.classes
        self._sure = float(torch.quantile(self._classify(held_out)[0], UNSURE))

    def judge(self, images: Tensor, wanted: list[str] | None = None) -> Values:
        """Return what uint8 images (N, C, S, S) are worth. wanted: the class asked for of each.

        nearest_ratio: as `quality/nearest_ratio`.
        named: fraction that the classifier names as surely as 99% of the held-out images.
        right: fraction that it names so, and by the class asked for; only with `wanted`.
        rarest: share, of the named ones, of the class that has fewest.
        """
        confidence, found = self._classify(images)
        sure = confidence >= self._sure
        counts = torch.bincount(found[sure], minlength=len(self._classes))
        values = {
            "nearest_ratio": nearest_metrics(images, *self._thumbnails)["nearest_ratio"][0],
            "named": float(sure.double().mean()),
            "rarest": float(counts.min() / counts.sum().clamp_min(1)),
        }
        if wanted is not None:
            asked = torch.tensor([self._classes.index(name) for name in wanted])
            values["right"] = float((sure & (found == asked)).double().mean())
        return values

    def _classify(self, images: Tensor) -> tuple[Tensor, Tensor]:
        confidence, found = in_batches(images, self._network).double().softmax(1).max(1)
        return confidence, found


_judge = cache(Judge)


def measure_checkpoints(run_dir: Path) -> None:
    """Measure the EMA generator of each kept checkpoint, unless that is done."""
    for seen, folder in list_checkpoints(run_dir):
        remember(run_dir / _MEASURED / f"{seen:09d}.json", partial(_measure, folder))


def read_measured(run_dir: Path) -> dict[int, Values]:
    """Return what is measured of a run, by the images seen, in ascending order."""
    files = sorted((run_dir / _MEASURED).glob("*.json"))
    return {
        int(path.stem): {name: float(value) for name, value in read_object(path).items()}
        for path in files
    }


def _measure(folder: Path) -> Values:
    loaded = open_generator(folder)
    images = generate_images(loaded.generator, 0, SAMPLES)
    asked = Labels.asked_for(loaded.generator, 0, SAMPLES)
    wanted = None if asked is None else [asked.names[i] for i in asked.index.tolist()]
    return _judge(loaded.config.data).judge(images, wanted)
