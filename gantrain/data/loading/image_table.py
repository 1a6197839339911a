"""A table of the class, view and split of each image of a set. Does not import torch."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gantrain.common.files import write_json
from gantrain.data.shards.faults import Fault
from gantrain.data.shards.samples import Label, split_of

TRAIN, VALIDATION, BROKEN = 0, 1, 2
TABLE_NAME = "table.json"


@dataclass(frozen=True)
class ImageInfo:
    """What the label of one image states.

    class_name: key of its class; "" if the label has none.
    view: index of the view of its object; -1 if the label has none.
    state: TRAIN, VALIDATION or BROKEN.
    """

    class_name: str
    view: float
    state: int

    @classmethod
    def from_label(cls, label: Label) -> Self:
        """Read a label. Raises UserError if it has an unknown split."""
        view = label.get("view", -1)
        state = VALIDATION if split_of(label) == "validation" else TRAIN
        return cls(str(label.get("part", "")), view if isinstance(view, int | float) else -1, state)


BROKEN_IMAGE = ImageInfo("", -1, BROKEN)


@dataclass(frozen=True)
class ImageTable:
    """The images of a set in the manifest's order: shard after shard, each in its own order.

    class_names: keys of the classes that occur, sorted; "" stands for images without a class.
    class_index: int64 (N,), index into `class_names`.
    view: float64 (N,), -1 where unknown.
    state: int64 (N,), TRAIN, VALIDATION or BROKEN.
    """

    class_names: tuple[str, ...]
    class_index: NDArray[np.int64]
    view: NDArray[np.float64]
    state: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.class_index)

    @classmethod
    def from_infos(cls, infos: Iterable[ImageInfo]) -> Self:
        """Collect the images in their order."""
        infos = list(infos)
        names = sorted({info.class_name for info in infos})
        index = {name: i for i, name in enumerate(names)}
        return cls(
            tuple(names),
            np.array([index[info.class_name] for info in infos], np.int64),
            np.array([info.view for info in infos], np.float64),
            np.array([info.state for info in infos], np.int64),
        )

    def save(self, folder: Path, faults: Sequence[Fault]) -> None:
        """Write the table, and the faults found while it was made, to a folder."""
        content = {
            "class_names": self.class_names,
            "class_index": self.class_index.tolist(),
            "view": self.view.tolist(),
            "state": self.state.tolist(),
            "faults": [vars(fault) for fault in faults],
        }
        write_json(folder / TABLE_NAME, content)

    @classmethod
    def load(cls, folder: Path, count: int) -> tuple[Self, tuple[Fault, ...]]:
        """Read what `save` wrote.

        Raises OSError if the file cannot be read, ValueError if it is not a table of `count`
        images.
        """
        content: Any = json.loads((folder / TABLE_NAME).read_text(encoding="utf-8"))
        try:
            table = cls(
                tuple(content["class_names"]),
                np.array(content["class_index"], np.int64),
                np.array(content["view"], np.float64),
                np.array(content["state"], np.int64),
            )
            faults = tuple(Fault(**fault) for fault in content["faults"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an image table ({error})") from None
        if not len(table.class_index) == len(table.view) == len(table.state) == count:
            raise ValueError(f"not an image table of {count} images")
        return table, faults
