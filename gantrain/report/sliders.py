"""The sliders of the playground: one for each direction in latent space that a reader can name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from gantrain.inference.directions import Direction

_MAX_SLIDERS = 14
# Of the two directions of the plane in which an angle rotates, in degrees.
_ENDS = {"cos": ("180°", "0°"), "sin": ("270°", "90°")}
_PART = "part"


@dataclass(frozen=True)
class Slider:
    """One direction, and what lies at its ends.

    vector: float32 (latent_size,). low, high: words for both ends. score: as of a Direction.
    """

    name: str
    low: str
    high: str
    score: float
    vector: Tensor


def sliders_of(directions: Sequence[Direction], part_names: Mapping[str, str]) -> list[Slider]:
    """Return a slider for each direction that is not weak, the best first.

    The two values of an attribute that has no others, such as cameras L and R, are the ends of one.

    part_names: the names of LEGO parts by number, for values of the attribute `part`.
    """
    values: dict[str, list[Direction]] = {}
    for direction in directions:
        if direction.kind == "is":
            values.setdefault(direction.name.partition("=")[0], []).append(direction)
    sliders = []
    for direction in directions:
        attribute, _, value = direction.name.partition("=")
        among = sorted(values.get(attribute, []), key=lambda other: other.name)
        if direction.weak or (len(among) == 2 and direction is among[0] and not among[1].weak):
            continue
        if direction.kind == "is":
            name = part_names.get(value, value) if attribute == _PART else value
            ends = ("less", "more")
            if len(among) == 2:
                ends = _ends_of(among, direction)
                name = ""
            label = f"{attribute}: {name}" if name else attribute
        else:
            label, ends = _label_of(direction)
        sliders.append(Slider(label, *ends, direction.score, direction.vector))
    return sliders[:_MAX_SLIDERS]


def name_classes(classes: Sequence[str], part_names: Mapping[str, str]) -> list[str]:
    """Return classes as people read them: names of LEGO parts, if all are numbers of such."""
    if not classes or any(name not in part_names for name in classes):
        return list(classes)
    return [f"{part_names[name]} ({name})" for name in classes]


def _ends_of(among: Sequence[Direction], towards: Direction) -> tuple[str, str]:
    low, high = (each.name.partition("=")[2] for each in among)
    return (low, high) if towards is among[1] else (high, low)


def _label_of(direction: Direction) -> tuple[str, tuple[str, str]]:
    if direction.kind in _ENDS:
        return direction.name.removesuffix(f".{direction.kind}"), _ENDS[direction.kind]
    return direction.name, ("less", "more")
