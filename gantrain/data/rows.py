"""What is known of each picture of a set, row by row, and which rows are to train on."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gantrain.config import DataConfig
from gantrain.data.faults import Fault
from gantrain.data.manifest import Manifest
from gantrain.data.members import Label, split_of
from gantrain.draws import Purpose, mixed_seed
from gantrain.errors import UserError
from gantrain.files import write_json

TRAIN, VALIDATION, BROKEN = 0, 1, 2
_FILE = "rows.json"


@dataclass(frozen=True)
class RowFacts:
    """What one label says, or that there is none.

    part: the part's number, "" if the label names none.
    view: which of the part's views it is, -1 if the label does not say.
    state: TRAIN, VALIDATION or BROKEN.
    """

    part: str
    view: float
    state: int

    @classmethod
    def of(cls, label: Label) -> Self:
        """Raises UserError if the label names an unknown split."""
        view = label.get("view", -1)
        state = VALIDATION if split_of(label) == "validation" else TRAIN
        return cls(str(label.get("part", "")), view if isinstance(view, int | float) else -1, state)


NOTHING = RowFacts("", -1, BROKEN)


@dataclass(frozen=True)
class Rows:
    """The pictures of a set in the manifest's order: shard after shard, each in its own order.

    names: the parts that occur.
    part: int64 (N,), index into `names`.
    view: float64 (N,), -1 where unknown.
    state: int64 (N,), TRAIN, VALIDATION or BROKEN.
    """

    names: tuple[str, ...]
    part: NDArray[np.int64]
    view: NDArray[np.float64]
    state: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.part)

    @classmethod
    def of(cls, facts: Iterable[RowFacts]) -> Self:
        """The table of these facts, in their order."""
        listed = list(facts)
        names = sorted({fact.part for fact in listed})
        code = {name: i for i, name in enumerate(names)}
        return cls(
            tuple(names),
            np.array([code[fact.part] for fact in listed], np.int64),
            np.array([fact.view for fact in listed], np.float64),
            np.array([fact.state for fact in listed], np.int64),
        )

    def save(self, folder: Path, faults: Sequence[Fault]) -> None:
        """Write the table, and what was found broken on the way, to a folder."""
        content = {
            "names": self.names,
            "part": self.part.tolist(),
            "view": self.view.tolist(),
            "state": self.state.tolist(),
            "faults": [vars(fault) for fault in faults],
        }
        write_json(folder / _FILE, content)

    @classmethod
    def load(cls, folder: Path, count: int) -> tuple[Self, tuple[Fault, ...]]:
        """What `save` wrote; raises ValueError unless it is a table of `count` rows."""
        content: Any = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        try:
            rows = cls(
                tuple(content["names"]),
                np.array(content["part"], np.int64),
                np.array(content["view"], np.float64),
                np.array(content["state"], np.int64),
            )
            faults = tuple(Fault(**fault) for fault in content["faults"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no table of rows ({error})") from None
        if not len(rows.part) == len(rows.view) == len(rows.state) == count:
            raise ValueError("a table of another length")
        return rows, faults


def needs_labels(config: DataConfig, manifest: Manifest) -> bool:
    """Whether labels must be read to know which pictures are for training."""
    chosen = bool(config.parts) or config.limit is not None or config.held_out > 0
    return chosen or manifest.splits["validation"] > 0


def training_rows(rows: Rows, config: DataConfig) -> NDArray[np.int64]:
    """The rows to train on, in ascending order.

    Of the pictures that can be read and are not held out, those of `config.parts`, and of them
    `config.limit`: a subset drawn evenly and always the same, which holds the smaller ones.

    Raises UserError if a part does not occur, or nothing is left.
    """
    chosen = (rows.state == TRAIN) & ~_in_held_out_views(rows, config.held_out)
    chosen &= _of_parts(rows, config)
    found = np.flatnonzero(chosen)
    if config.limit is not None and config.limit < len(found):
        # One number for each row of the set, so that another selection draws alike.
        generator = np.random.default_rng(mixed_seed(0, Purpose.SUBSET))
        rank = generator.random(len(rows))[found]
        found = np.sort(found[np.argsort(rank, kind="stable")[: config.limit]])
    if not len(found):
        raise UserError(
            f"{config.shards}: every picture is held out or broken; expected some to train on. "
            "See data.parts, data.held_out and data.on_error."
        )
    return found


def held_out_rows(rows: Rows, config: DataConfig) -> NDArray[np.int64]:
    """The rows that training never sees, in ascending order: the split "validation", and the
    share `config.held_out` of the views; of `config.parts` alone if it names any."""
    held = (rows.state == VALIDATION) | _in_held_out_views(rows, config.held_out)
    return np.flatnonzero(held & (rows.state != BROKEN) & _of_parts(rows, config))


def _of_parts(rows: Rows, config: DataConfig) -> NDArray[np.bool_]:
    if not config.parts:
        return np.ones(len(rows), np.bool_)
    for part in config.parts:
        if part not in rows.names:
            some = ", ".join(name for name in rows.names if name)
            raise UserError(
                f"data.parts: {part!r} does not occur in {config.shards}; expected some of: {some}"
            )
    return np.isin(rows.part, [rows.names.index(part) for part in config.parts])


def _in_held_out_views(rows: Rows, share: float) -> NDArray[np.bool_]:
    """The last views of all parts: neighbours look almost alike, so that a contiguous sector is
    held out, not views here and there. Pictures without a view count by their place in the set."""
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
