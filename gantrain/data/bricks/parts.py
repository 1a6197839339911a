"""Catalogue of fifty LEGO parts, with the numbers and names of the LDraw parts library.

A number that the library moved, such as 3062, stands for the one that it moved to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial

from gantrain.common.errors import UserError
from gantrain.data.bricks.geometry import BRICK, PLATE, Solid
from gantrain.data.bricks.molds import (
    arch,
    brick,
    cheese_slope,
    corner,
    headlight,
    hip,
    inverted_slope,
    jumper,
    large_cone,
    large_round,
    plain_tile,
    ridge,
    round_brick,
    round_plate,
    round_tile,
    side_stud,
    slope,
    small_cone,
    tile,
    wing,
)
from gantrain.data.bricks.technic import (
    angle_beam,
    axle,
    beam,
    bush,
    pin,
    technic_brick,
    thin_beam,
)


@dataclass(frozen=True)
class Part:
    """One LEGO part.

    number, name: of the LDraw parts library (release 2020-03).
    build: returns its solid (manifold3d.Manifold): millimetres, z up, resting on z = 0.
    """

    number: str
    name: str
    build: Callable[[], Solid]


PARTS: tuple[Part, ...] = (
    Part("3001", "Brick 2 x 4", partial(brick, 4, 2)),
    Part("3002", "Brick 2 x 3", partial(brick, 3, 2)),
    Part("3003", "Brick 2 x 2", partial(brick, 2, 2)),
    Part("3004", "Brick 1 x 2", partial(brick, 2, 1)),
    Part("3005", "Brick 1 x 1", partial(brick, 1, 1)),
    Part("3010", "Brick 1 x 4", partial(brick, 4, 1)),
    Part("2357", "Brick 2 x 2 Corner", partial(corner, BRICK)),
    Part("3020", "Plate 2 x 4", partial(brick, 4, 2, PLATE)),
    Part("3021", "Plate 2 x 3", partial(brick, 3, 2, PLATE)),
    Part("3022", "Plate 2 x 2", partial(brick, 2, 2, PLATE)),
    Part("3023", "Plate 1 x 2", partial(brick, 2, 1, PLATE)),
    Part("3024", "Plate 1 x 1", partial(brick, 1, 1, PLATE)),
    Part("3710", "Plate 1 x 4", partial(brick, 4, 1, PLATE)),
    Part("2420", "Plate 2 x 2 Corner", partial(corner, PLATE)),
    Part("3794a", "Plate 1 x 2 without Groove with 1 Centre Stud", jumper),
    Part("3068b", "Tile 2 x 2 with Groove", partial(tile, 2, 2)),
    Part("3069b", "Tile 1 x 2 with Groove", partial(tile, 2, 1)),
    Part("3070a", "Tile 1 x 1 without Groove", plain_tile),
    Part("2431", "Tile 1 x 4 with Groove", partial(tile, 4, 1)),
    Part("4150", "Tile 2 x 2 Round with Cross Underside Stud", round_tile),
    Part("3040b", "Slope Brick 45 2 x 1", partial(slope, 1, 2)),
    Part("3039", "Slope Brick 45 2 x 2", partial(slope, 2, 2)),
    Part("3038", "Slope Brick 45 2 x 3", partial(slope, 3, 2)),
    Part("3298", "Slope Brick 33 3 x 2", partial(slope, 2, 3)),
    Part("3044b", "Slope Brick 45 2 x 1 Double", ridge),
    Part("3045", "Slope Brick 45 2 x 2 Double Convex", hip),
    Part(
        "3665a",
        "Slope Brick 45 2 x 1 Inverted without Inner Stopper Ring",
        partial(inverted_slope, 1),
    ),
    Part("3660", "Slope Brick 45 2 x 2 Inverted", partial(inverted_slope, 2)),
    Part("54200", "Slope Brick 31 1 x 1 x 0.667", cheese_slope),
    Part("3062b", "Brick 1 x 1 Round with Hollow Stud", round_brick),
    Part("3941", "Brick 2 x 2 Round without Reinforcement", partial(large_round, BRICK)),
    Part("6141", "Plate 1 x 1 Round", round_plate),
    Part("4032a", "Plate 2 x 2 Round with Axlehole Type 1", partial(large_round, PLATE)),
    Part("4589", "Cone 1 x 1", small_cone),
    Part("3942b", "Cone 2 x 2 x 2 with Hollow Stud and Axlehole Teeth", large_cone),
    Part("3659", "Arch 1 x 4", partial(arch, 4)),
    Part("4490", "Arch 1 x 3", partial(arch, 3)),
    Part("3700", "Technic Brick 1 x 2 with Hole", partial(technic_brick, 2)),
    Part("3701", "Technic Brick 1 x 4 with Holes", partial(technic_brick, 4)),
    Part("32523", "Technic Beam 3", partial(beam, 3)),
    Part("32316", "Technic Beam 5", partial(beam, 5)),
    Part("41677", "Technic Beam 2 x 0.5 Liftarm", thin_beam),
    Part("32140", "Technic Beam 2 x 4 Liftarm Bent 90", angle_beam),
    Part("3673", "Technic Pin", pin),
    Part("3705", "Technic Axle 4", partial(axle, 4)),
    Part("3713", "Technic Bush with Two Flanges", bush),
    Part("87087", "Brick 1 x 1 with Stud on 1 Side", side_stud),
    Part("4070", "Brick 1 x 1 with Headlight", headlight),
    Part("41769", "Wing 2 x 4 Right", partial(wing, 1.0)),
    Part("41770", "Wing 2 x 4 Left", partial(wing, -1.0)),
)

MOVED = {
    "3040": "3040b",
    "3044": "3044b",
    "3062": "3062b",
    "3068": "3068b",
    "3069": "3069b",
    "3070": "3070a",
    "3665": "3665a",
    "3794": "3794a",
    "3942": "3942b",
    "4032": "4032a",
    "4073": "6141",
}
_BY_NUMBER = {part.number: part for part in PARTS}


def find_part(number: str) -> Part:
    """Return the part with an LDraw number, or with the number that it moved to.

    Raises UserError naming the most similar number if there is none.
    """
    current = MOVED.get(number, number)
    if current in _BY_NUMBER:
        return _BY_NUMBER[current]
    closest = max(_BY_NUMBER, key=lambda known: SequenceMatcher(None, number, known).ratio())
    raise UserError(
        f"Unknown part {number!r}; the closest is {closest} ({_BY_NUMBER[closest].name}). "
        f"Known parts: {', '.join(_BY_NUMBER)}."
    )
