"""What is known of each image of a set, row by row. Needs no torch."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gantrain.common.files import write_json
from gantrain.data.shards.faults import Fault
from gantrain.data.shards.members import Label, split_of

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
    """The images of a set in the manifest's order: shard after shard, each in its own order.

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
