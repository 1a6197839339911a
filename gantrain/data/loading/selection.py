"""The selection of the images to train on, and of those held out."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError
from gantrain.common.rng import Stream, derive_seed
from gantrain.config import ConditioningConfig, DataConfig
from gantrain.data.loading.image_table import BROKEN, TRAIN, VALIDATION, ImageTable
from gantrain.data.shards.manifest import Manifest

NO_CONDITIONING = ConditioningConfig()


def needs_labels(config: DataConfig, manifest: Manifest) -> bool:
    """Return whether the selection of the training images depends on labels."""
    filtered = bool(config.classes) or config.limit is not None or config.held_out > 0
    return filtered or manifest.splits["validation"] > 0


def training_rows(
    table: ImageTable, config: DataConfig, conditioning: ConditioningConfig = NO_CONDITIONING
) -> NDArray[np.int64]:
    """Return the rows of the images to train on, ascending.

    They are neither broken nor held out and belong to `config.classes`; with conditioning, to a
    class. `config.limit` selects from these a uniformly random subset, which is the same in every
    run and contains the subsets of smaller limits.

    Raises UserError if a class does not occur, no image is left, or images lack a class that
    conditioning needs.
    """
    selected = (table.state == TRAIN) & ~_in_held_out_views(table, config.held_out)
    selected &= _in_classes(table, config)
    if conditioning.active:
        selected &= _labelled(table, selected, config, conditioning)
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


def held_out_rows(
    table: ImageTable, config: DataConfig, class_names: Collection[str] = ()
) -> NDArray[np.int64]:
    """Return the rows of the images that are never trained on, ascending.

    They are the split "validation" and the fraction `config.held_out` of the views, restricted to
    `config.classes` if it is not empty, and to images of the classes `class_names` if there are
    some: those that networks are conditioned on.

    Raises UserError if a class does not occur.
    """
    held_out = (table.state == VALIDATION) | _in_held_out_views(table, config.held_out)
    held_out &= (table.state != BROKEN) & _in_classes(table, config)
    if class_names:
        held_out &= np.array([name in class_names for name in table.class_names])[table.class_index]
    return np.flatnonzero(held_out)


def _labelled(
    table: ImageTable,
    selected: NDArray[np.bool_],
    config: DataConfig,
    conditioning: ConditioningConfig,
) -> NDArray[np.bool_]:
    labelled = np.array([bool(name) for name in table.class_names])[table.class_index]
    missing, total = int((selected & ~labelled).sum()), int(selected.sum())
    if missing and conditioning.unlabelled == "fail":
        raise UserError(
            f"{config.shards}: {missing:,} of the {total:,} images to train on have no class, "
            f"which conditioning.kind={conditioning.kind} needs; leave them out with "
            "conditioning.unlabelled=skip, or write the set again with a class for each image."
        )
    return labelled


def class_names_of(
    manifest: Manifest, config: DataConfig, conditioning: ConditioningConfig
) -> tuple[str, ...]:
    """Return the keys of the classes that networks are conditioned on, sorted; else nothing.

    They do not depend on config.limit, and so neither do the networks.

    Raises UserError if there are fewer than two.
    """
    if not conditioning.active:
        return ()
    names = tuple(sorted(set(config.classes) or set(manifest.classes)))
    if len(names) < 2:
        found = f"has only the class {names[0]!r}" if names else "has no classes"
        where = "data.classes" if config.classes else f"{config.shards}"
        raise UserError(
            f"{where}: {found}; expected two or more with "
            f"conditioning.kind={conditioning.kind}. Train with conditioning.kind=none, or on a "
            "set whose labels name classes."
        )
    return names


def class_indices(table: ImageTable, names: tuple[str, ...]) -> NDArray[np.int64] | None:
    """Return the index in `names` of each image's class, int64 (N,); -1 if it is not in there.

    None without names.
    """
    if not names:
        return None
    places = {name: i for i, name in enumerate(names)}
    return np.array([places.get(name, -1) for name in table.class_names])[table.class_index]


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
