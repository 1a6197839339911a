"""Which images of a set are to train on, and which are held out."""

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError
from gantrain.common.rng import Stream, derive_seed
from gantrain.config import DataConfig
from gantrain.data.loading.rows import BROKEN, TRAIN, VALIDATION, Rows
from gantrain.data.shards.manifest import Manifest


def needs_labels(config: DataConfig, manifest: Manifest) -> bool:
    """Whether labels must be read to know which images are for training."""
    chosen = bool(config.classes) or config.limit is not None or config.held_out > 0
    return chosen or manifest.splits["validation"] > 0


def training_rows(rows: Rows, config: DataConfig) -> NDArray[np.int64]:
    """The rows to train on, in ascending order.

    Of the images that can be read and are not held out, those of `config.classes`, and of them
    `config.limit`: a subset drawn evenly and always the same, which holds the smaller ones.

    Raises UserError if a part does not occur, or nothing is left.
    """
    chosen = (rows.state == TRAIN) & ~_in_held_out_views(rows, config.held_out)
    chosen &= _of_parts(rows, config)
    found = np.flatnonzero(chosen)
    if config.limit is not None and config.limit < len(found):
        # One number for each row of the set, so that another selection draws alike.
        generator = np.random.default_rng(derive_seed(0, Stream.SUBSET))
        rank = generator.random(len(rows))[found]
        found = np.sort(found[np.argsort(rank, kind="stable")[: config.limit]])
    if not len(found):
        raise UserError(
            f"{config.shards}: every image is held out or broken; expected some to train on. "
            "See data.parts, data.held_out and data.on_error."
        )
    return found


def held_out_rows(rows: Rows, config: DataConfig) -> NDArray[np.int64]:
    """The rows that training never sees, in ascending order: the split "validation", and the
    share `config.held_out` of the views; of `config.classes` alone if it names any."""
    held = (rows.state == VALIDATION) | _in_held_out_views(rows, config.held_out)
    return np.flatnonzero(held & (rows.state != BROKEN) & _of_parts(rows, config))


def _of_parts(rows: Rows, config: DataConfig) -> NDArray[np.bool_]:
    if not config.classes:
        return np.ones(len(rows), np.bool_)
    for part in config.classes:
        if part not in rows.names:
            some = ", ".join(name for name in rows.names if name)
            raise UserError(
                f"data.parts: {part!r} does not occur in {config.shards}; expected some of: {some}"
            )
    return np.isin(rows.part, [rows.names.index(part) for part in config.classes])


def _in_held_out_views(rows: Rows, share: float) -> NDArray[np.bool_]:
    """The last views of all parts: neighbours look almost alike, so that a contiguous sector is
    held out, not views here and there. Images without a view count by their place in the set."""
    held = np.zeros(len(rows), np.bool_)
    if not share:
        return held
    known = rows.view >= 0
    if known.any():
        views = rows.view[known].max() + 1
        held[known] = rows.view[known] >= views * (1 - share)
    for part in range(len(rows.names)):
        of_part = np.flatnonzero((rows.part == part) & ~known)
        held[of_part[len(of_part) - round(len(of_part) * share) :]] = True
    return held
