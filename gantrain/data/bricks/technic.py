"""Construction of Technic parts, in millimetres; placed as in `molds`."""

from itertools import pairwise

from gantrain.data.bricks.geometry import (
    AXLE_LENGTH,
    AXLE_WIDTH,
    BORE_RADIUS,
    BRICK,
    HOLE_RADIUS,
    HOLE_RIM_RADIUS,
    PITCH,
    STUD_RADIUS,
    Outline,
    Solid,
    axle_cross,
    axle_hole,
    box,
    capsule,
    cylinder,
    footprint,
    grid,
    pin_hole,
    prism,
    revolved,
    shell,
    studs,
    union,
)
from gantrain.data.bricks.molds import HOLE_HEIGHT

BEAM = 7.2  # width of a Technic beam


def technic_brick(columns: int) -> Solid:
    """Return a 1-wide brick with a pin hole between each two studs."""
    cells = grid(columns, 1)
    between = [(a[0] + b[0]) / 2 for a, b in pairwise(cells)]
    width = PITCH
    sleeves = union(
        cylinder(HOLE_RADIUS + 1.2, width, (x, -PITCH / 2, HOLE_HEIGHT), axis="y") for x in between
    )
    holes = union(pin_hole((x, 0.0, HOLE_HEIGHT), width, "y") for x in between)
    body = shell(footprint(cells), BRICK) + sleeves - holes
    return body + studs(cells, BRICK, hollow=True)


def _liftarm(pins: int) -> Outline:
    """Return the outline of a straight beam along y, around the origin."""
    return capsule((pins - 1) * PITCH + BEAM, BEAM / 2).rotate(90.0)


def beam(length: int) -> Solid:
    """Return a straight beam along y with vertical pin holes."""
    cut = union(pin_hole((0.0, y, PITCH / 2), PITCH, "z") for _, y in grid(1, length))
    return prism(_liftarm(length), PITCH, (0.0, 0.0, 0.0)) - cut


def thin_beam() -> Solid:
    """Return a beam of half the thickness with two axle holes, whose inner arms nearly meet."""
    height, half, gap = PITCH / 2, AXLE_WIDTH / 2, 0.4
    holes = [axle_hole((0.0, y, height / 2), height, "z") for y in (-4.0, 4.0)]
    arms = [box((-half, low, -1.0), (half, low + 4.0 - gap, PITCH)) for low in (-4.0, gap)]
    return prism(_liftarm(2), height, (0.0, 0.0, 0.0)) - union(holes) - union(arms)


def angle_beam() -> Solid:
    """Return a bent beam: an axle hole and three pin holes along y, a fourth beside the last."""
    outline = _liftarm(4) + _liftarm(2).rotate(90.0).translate((4.0, 12.0))
    pins = [(0.0, -4.0), (0.0, 4.0), (0.0, 12.0), (8.0, 12.0)]
    cut = union(pin_hole((x, y, PITCH / 2), PITCH, "z") for x, y in pins)
    hole = axle_hole((0.0, -12.0, PITCH / 2), PITCH, "z")
    return (prism(outline, PITCH, (0.0, 0.0, 0.0)) - cut - hole).translate((-4.0, 0.0, 0.0))


def pin() -> Solid:
    """Return a pin along x: a collar between two slit ends."""
    end, collar, bore, lip = PITCH, 0.8, BORE_RADIUS, 2.6
    body = revolved(
        [
            *((bore, -end), (lip, -end), (lip, collar - end), (HOLE_RADIUS, collar - end)),
            *((HOLE_RADIUS, -collar), (HOLE_RIM_RADIUS, -collar), (HOLE_RIM_RADIUS, collar)),
            *((HOLE_RADIUS, collar), (HOLE_RADIUS, end - collar), (lip, end - collar)),
            *((lip, end), (bore, end)),
        ]
    )
    slits = union(
        box((-0.4, -PITCH, low), (0.4, PITCH, low + 4.4)) for low in (-end - 1.0, end - 3.4)
    )
    return (body - slits).rotate((0.0, 90.0, 0.0)).translate((0.0, 0.0, HOLE_RIM_RADIUS))


def axle(length: int) -> Solid:
    span = length * PITCH
    return prism(axle_cross(), span, (-span / 2, 0.0, AXLE_LENGTH / 2), axis="x")


def bush() -> Solid:
    """Return a bush along y: a thin waist between two flanges; studs fit the notches of one."""
    rim, waist, half = BEAM / 2, 2.8, PITCH / 2
    flange = [(waist, half - 1.6), (rim, half - 1.2), (rim, half), (0.0, half)]
    body = revolved([*((r, -z) for r, z in reversed(flange)), *flange])
    corners = union(cylinder(STUD_RADIUS, half + 1.0, (x, y, 0.0)) for x, y in grid(2, 2))
    slots = box((-rim, -0.4, -2.0), (rim, 0.4, 2.0))
    body = body - corners - slots - axle_hole((0.0, 0.0, 0.0), PITCH, "z")
    return body.rotate((-90.0, 0.0, 0.0)).translate((0.0, 0.0, rim))
