"""Which parts to render, and whether from gantrain's own solids or from an LDraw library."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from gantrain.common.errors import UserError
from gantrain.data.bricks.kaggle import KAGGLE
from gantrain.data.bricks.parts import MOVED, PARTS, find_part
from gantrain.data.bricks.tracing import Scene, load_flat_scene, load_scene
from gantrain.data.ldraw.meshes import open_library, part_mesh

PartSet = Literal["own", "kaggle"]
PART_SETS: tuple[PartSet, ...] = get_args(PartSet)


@dataclass(frozen=True)
class ChosenPart:
    """A part to render.

    key: of its class; in the Kaggle set, the number that its files have.
    number, name: of the LDraw parts library.
    hue: selects its colour in RGB images, whatever other parts are rendered.
    """

    key: str
    number: str
    name: str
    hue: int


def part_count(parts: Sequence[str] | None, part_set: PartSet) -> int:
    """Return how many parts `choose_parts` returns."""
    if parts is not None:
        return len(parts)
    return len(KAGGLE if part_set == "kaggle" else PARTS)


def choose_parts(
    parts: Sequence[str] | None, part_set: PartSet, library: Path | None
) -> tuple[ChosenPart, ...]:
    """Return the parts with these numbers, or all of a set if it is None.

    part_set: "own", the fifty parts of `PARTS`; or "kaggle", see `KAGGLE`.
    library: folder with an LDraw library that has the parts; None for gantrain's own solids.

    Raises UserError if a part is unknown or there more than once, or the library cannot be read.
    """
    if parts is None:
        keys = KAGGLE if part_set == "kaggle" else tuple(part.number for part in PARTS)
        if part_set == "kaggle" and library is None:
            _check_modelled(keys)
    elif not parts:
        raise UserError("parts is empty; expected LDraw numbers such as 3001, or None for all.")
    else:
        keys = tuple(parts)
    find = _modelled if library is None else _of_library
    chosen = [find(key, library) for key in keys]
    if parts is None and part_set == "kaggle":  # models of the one set can be tried on the other
        chosen = [
            ChosenPart(key, part.number, part.name, part.hue)
            for key, part in zip(keys, chosen, strict=True)
        ]
    numbers = [part.number for part in chosen]
    for number in numbers:
        if numbers.count(number) > 1:
            raise UserError(f"parts contains {number} more than once.")
    return tuple(chosen)


def _check_modelled(keys: Sequence[str]) -> None:
    own = {part.number for part in PARTS}
    missing = [key for key in keys if MOVED.get(key, key) not in own]
    if missing:
        raise UserError(
            f"The Kaggle set has {len(missing)} parts that gantrain does not model "
            f"({', '.join(missing)}). Give an LDraw library with --ldraw, or some of the "
            "others with --parts."
        )


def _modelled(key: str, library: Path | None) -> ChosenPart:
    part = find_part(key)
    return ChosenPart(part.number, part.number, part.name, PARTS.index(part))


def _of_library(key: str, library: Path | None) -> ChosenPart:
    assert library is not None
    file = open_library(library).part(key)
    number = file.path.stem.lower()
    return ChosenPart(number, number, file.title or number, zlib.crc32(number.encode()))


@lru_cache(maxsize=512)  # about 1 MB each
def load_part(number: str, library: Path | None) -> Scene:
    """Return a part, loaded for tracing.

    Raises UserError if its file in the library, or one that it refers to, is at fault.
    """
    if library is None:
        return load_scene(find_part(number).build())
    return load_flat_scene(part_mesh(open_library(library), number))
