"""The real images that a run shows beside its samples."""

import torch
from torch import Tensor

from gantrain.common.rng import PositionalRNG
from gantrain.config import Config
from gantrain.data.loading.datasets import ImageDataset
from gantrain.models.conditioning import Conditioning

_CANDIDATES = 32  # images for each place of a grid by classes, among which its class is searched


def real_samples(dataset: ImageDataset, conditioning: Conditioning, config: Config) -> Tensor:
    """Return real images in the arrangement of the samples, uint8 (rows * columns, C, S, S).

    With conditioning, each row has the class that it has there. Images of a class that a limited
    search does not find are those of other classes.
    """
    rows, columns = config.output.grid
    wanted = conditioning.by_row(rows, columns)
    if wanted is None:
        return dataset.images(PositionalRNG(config.seed, 0, rows * columns))
    count = min(dataset.total, _CANDIDATES * rows * columns)
    images, classes = dataset.labelled_images(PositionalRNG(config.seed, 0, count))
    assert classes is not None
    return images[_rows_by_class(classes, wanted)]


def _rows_by_class(classes: Tensor, wanted: Tensor) -> Tensor:
    """Return an image for each wanted class, int64 (len(wanted),).

    Those of one class follow each other, and start again when there are no more.
    """
    places = torch.empty_like(wanted)
    for index in set(wanted.tolist()):
        found = (classes == index).nonzero()[:, 0]
        if not len(found):
            found = torch.arange(len(classes))
        here = (wanted == index).nonzero()[:, 0]
        places[here] = found[torch.arange(len(here)) % len(found)]
    return places
