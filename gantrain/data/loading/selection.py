"""The selection of the images to train on, and of those held out."""

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError
from gantrain.common.rng import Stream, derive_seed
from gantrain.config import DataConfig
from gantrain.data.loading.image_table import BROKEN, TRAIN, VALIDATION, ImageTable
from gantrain.data.shards.manifest import Manifest


def needs_labels(config: DataConfig, manifest: Manifest) -> bool:
    """Return whether the selection of the training images depends on labels."""
    filtered = bool(config.classes) or config.limit is not None or config.held_out > 0
    return filtered or manifest.splits["validation"] > 0


def training_rows(table: ImageTable, config: DataConfig) -> NDArray[np.int64]:
    """Return the rows of the images to train on, ascending.

    They are neither broken nor held out and belong to `config.classes`. `config.limit` selects
    from these a uniformly random subset, which is the same in every run and contains the subsets
    of smaller limits.

    Raises UserError if a class does not occur, or no image is left.
    """
    selected = (table.state == TRAIN) & ~_in_held_out_views(table, config.held_out)
    selected &= _in_classes(table, config)
    rows = np.flatnonzero(selected)
    if config.limit is not None and config.limit < len(rows):
        # One random number per image of the set, independent of the rest of the selection.
        generator = np.random.default_rng(derive_seed(0, Stream.SUBSET))
        priority = generator.random(len(table))[rows]
        rows = np.sort(rows[np.argsort(priority, kind="stable")[: config.limit]])
    if not len(rows):
        raise UserError(
            f"{config.shards}: no image to train on: all are held out or broken. "
            "See data.classes, data.held_out and data.on_error."
        )
    return rows


def held_out_rows(table: ImageTable, config: DataConfig) -> NDArray[np.int64]:
    """Return the rows of the images that are never trained on, ascending.

    They are the split "validation" and the fraction `config.held_out` of the views, restricted to
    `config.classes` if it is not empty.

    Raises UserError if a class does not occur.
    """
    held_out = (table.state == VALIDATION) | _in_held_out_views(table, config.held_out)
    return np.flatnonzero(held_out & (table.state != BROKEN) & _in_classes(table, config))


def _in_classes(table: ImageTable, config: DataConfig) -> NDArray[np.bool_]:
    if not config.classes:
        return np.ones(len(table), np.bool_)
    for name in config.classes:
        if name not in table.class_names:
            known = ", ".join(known for known in table.class_names if known)
            raise UserError(
                f"data.classes: {name!r} does not occur in {config.shards}; expected some of: "
                f"{known}"
            )
    indices = [table.class_names.index(name) for name in config.classes]
    return np.isin(table.class_index, indices)


def _in_held_out_views(table: ImageTable, fraction: float) -> NDArray[np.bool_]:
    """Return a mask of the last views of every class, bool (N,).

    A contiguous range of views is held out because neighbouring views look almost alike. Images
    without a view count by their order in the class.
    """
    held_out = np.zeros(len(table), np.bool_)
    if not fraction:
        return held_out
    has_view = table.view >= 0
    if has_view.any():
        views = table.view[has_view].max() + 1
        held_out[has_view] = table.view[has_view] >= views * (1 - fraction)
    for index in range(len(table.class_names)):
        rows = np.flatnonzero((table.class_index == index) & ~has_view)
        held_out[rows[len(rows) - round(len(rows) * fraction) :]] = True
    return held_out
