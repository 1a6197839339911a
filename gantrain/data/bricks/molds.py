"""Construction of each kind of LEGO part, in millimetres.

Every part rests on z = 0, studs up, centred in x and y on the cells it covers.
"""

from collections.abc import Sequence
from itertools import pairwise

from gantrain.data.bricks.geometry import (
    BRICK,
    CLEARANCE,
    HOLE_RADIUS,
    PITCH,
    PLATE,
    POST_RADIUS,
    ROOF,
    STUD_HEIGHT,
    STUD_RADIUS,
    TUBE_RADIUS,
    WALL,
    Outline,
    Point,
    Solid,
    axle_cross,
    axle_hole,
    block,
    box,
    capsule,
    circle,
    cylinder,
    footprint,
    grid,
    inset,
    pin_hole,
    polygon,
    prism,
    revolved,
    shell,
    slanted,
    studs,
    tubes,
    union,
)

LIP = 1.6  # height of the low edge of a slope
HOLE_HEIGHT = 5.6  # centre of a Technic hole or a side stud above a brick's base
BEAM = 7.8  # width of a Technic beam
_CORNER: tuple[Point, ...] = ((-4.0, -4.0), (4.0, -4.0), (-4.0, 4.0))


def brick(columns: int, rows: int, height: float = BRICK) -> Solid:
    cells = grid(columns, rows)
    return block(cells, height) + studs(cells, height)


def corner(height: float) -> Solid:
    return block(_CORNER, height) + studs(_CORNER, height)


def jumper() -> Solid:
    return block(grid(2, 1), PLATE) + studs([(0.0, 0.0)], PLATE)


def _tile_body(outline: Outline) -> Solid:
    groove = 0.3  # around the foot, to lift the tile with a fingernail
    foot = prism(inset(outline, -1.0) - inset(outline, groove), groove + 1.0, (0.0, 0.0, -1.0))
    return shell(outline, PLATE) - foot


def tile(columns: int, rows: int) -> Solid:
    cells = grid(columns, rows)
    return _tile_body(footprint(cells)) + tubes(cells, PLATE - ROOF)


def round_tile() -> Solid:
    return _tile_body(circle(PITCH - CLEARANCE)) + tubes(grid(2, 2), PLATE - ROOF)


def _half(count: int) -> float:
    return count * PITCH / 2 - CLEARANCE


def _ramp(rows: int, height: float = BRICK) -> Outline:
    """Return a profile in (y, z): full height in the back row, sloping down to a lip in front."""
    half = _half(rows)
    edge = half - PITCH + 2 * CLEARANCE if rows > 1 else half
    return polygon([(-half, 0.0), (half, 0.0), (half, height), (edge, height), (-half, LIP)])


def slope(columns: int, rows: int) -> Solid:
    half = _half(columns)
    back = [(x, (rows - 1) * PITCH / 2) for x, _ in grid(columns, 1)]
    body = slanted(_ramp(rows), -half, half)
    # Tubes that would pierce the slope are cut off at it.
    inside = tubes(grid(columns, rows), BRICK) ^ prism(
        _ramp(rows), 2 * half, (-half, 0, 0), axis="x"
    )
    return body + inside + studs(back, BRICK)


def cheese_slope() -> Solid:
    return slanted(_ramp(1, 2 * PLATE), -_half(1), _half(1))


def ridge() -> Solid:
    half = _half(2)
    ridge = [(-half, 0.0), (half, 0.0), (half, LIP), (0.0, BRICK - CLEARANCE), (-half, LIP)]
    return slanted(polygon(ridge), -_half(1), _half(1))


def hip() -> Solid:
    half = _half(2)
    roof = slanted(_ramp(2), -half, half)
    wedge = prism(_ramp(2), 2 * half, (-half, 0.0, 0.0), axis="x")
    across = wedge.rotate((0.0, 0.0, -90.0))
    outer = wedge ^ across
    hollow = (wedge - roof) ^ (across - roof.rotate((0.0, 0.0, -90.0)))
    tube = tubes(grid(2, 2), BRICK) ^ outer
    return (outer - hollow) + tube + studs([(4.0, 4.0)], BRICK)


def inverted_slope(columns: int) -> Solid:
    half, depth = _half(columns), _half(2)
    overhang = polygon(
        [(0.0, 0.0), (depth, 0.0), (depth, BRICK), (-depth, BRICK), (-depth, BRICK - LIP)]
    )
    body = prism(overhang, 2 * half, (-half, 0.0, 0.0), axis="x")
    cavity = box((WALL - half, WALL, -1.0), (half - WALL, depth - WALL, BRICK - ROOF))
    return (body - cavity) + studs(grid(columns, 2), BRICK)


def _round_foot(height: float, neck: float) -> Solid:
    """Return a round 1 x 1 body on a narrower neck that fits between studs."""
    profile = [(0.0, 0.0), (TUBE_RADIUS, 0.0), (TUBE_RADIUS, neck), (_half(1), neck)]
    body = revolved([*profile, (_half(1), height), (0.0, height)])
    return body - cylinder(STUD_RADIUS, height - ROOF + 1.0, (0.0, 0.0, -1.0))


def small_round(height: float, neck: float, *, hollow: bool) -> Solid:
    return _round_foot(height, neck) + studs([(0.0, 0.0)], height, hollow=hollow)


def large_round(height: float) -> Solid:
    """Return a round 2 x 2 body with an axle hole through its centre tube."""
    outline = circle(_half(2))
    tube = cylinder(TUBE_RADIUS, height, (0.0, 0.0, 0.0))
    hole = axle_hole((0.0, 0.0, height / 2), height, "z")
    return (shell(outline, height) + tube - hole) + studs(grid(2, 2), height)


def small_cone() -> Solid:
    profile = [(0.0, 0.0), (TUBE_RADIUS, 0.0), (TUBE_RADIUS, LIP), (_half(1), LIP)]
    body = revolved([*profile, (_half(1), 2.4), (STUD_RADIUS + 0.1, BRICK), (0.0, BRICK)])
    hollow = cylinder(STUD_RADIUS, 6.0, (0.0, 0.0, -1.0))
    return (body - hollow) + studs([(0.0, 0.0)], BRICK, hollow=True)


def large_cone() -> Solid:
    foot, top, height = _half(2), _half(1), 2 * BRICK
    outer = revolved([(0, 0), (foot, 0), (foot, PLATE), (top, height), (0, height)])
    inner = revolved(
        [
            (0.0, -1.0),
            (foot - WALL, -1.0),
            (foot - WALL, PLATE),
            (top - WALL, height - ROOF),
            (0.0, height - ROOF),
        ]
    )
    tube = cylinder(TUBE_RADIUS, height, (0, 0, 0)) ^ outer
    hole = axle_hole((0.0, 0.0, 0.0), 1.5 * height, "z")
    return ((outer - inner) + tube - hole) + studs([(0.0, 0.0)], height, hollow=True)


def arch(columns: int, crown: float) -> Solid:
    """Return a 1-wide arch on two legs of one cell each; `crown` is the height of the opening."""
    half, radius = _half(columns), (columns - 2) * PITCH / 2
    body = box((-half, -_half(1), 0.0), (half, _half(1), BRICK))
    spring = crown - radius
    opening = circle(radius).translate((0.0, spring)) + polygon(
        [(-radius, -1.0), (radius, -1.0), (radius, spring), (-radius, spring)]
    )
    tunnel = prism(opening, 2 * PITCH, (0.0, -PITCH, 0.0), axis="y")
    inner, outer = radius + 1.0, half - WALL
    across = _half(1) - WALL
    legs = union(
        box((min(a, b), -across, -1.0), (max(a, b), across, spring + 1.0))
        for a, b in ((inner, outer), (-outer, -inner))
    )
    return (body - tunnel - legs) + studs(grid(columns, 1), BRICK)


def technic_brick(columns: int) -> Solid:
    """Return a 1-wide brick with a pin hole between each two studs."""
    cells = grid(columns, 1)
    between = [(a[0] + b[0]) / 2 for a, b in pairwise(cells)]
    width = 2 * _half(1)
    sleeves = union(
        cylinder(HOLE_RADIUS + 1.2, width, (x, -_half(1), HOLE_HEIGHT), axis="y") for x in between
    )
    holes = union(pin_hole((x, 0.0, HOLE_HEIGHT), width, "y") for x in between)
    body = shell(footprint(cells), BRICK) + sleeves - holes
    return body + studs(cells, BRICK, hollow=True)


def beam(length: int, *, thickness: float = BEAM, axles: Sequence[int] = ()) -> Solid:
    """Return a straight beam with vertical holes; the holes listed in `axles` are axle holes."""
    outline = capsule(length * PITCH - 2 * CLEARANCE, BEAM / 2)
    cut = union(
        (axle_hole if index in axles else pin_hole)((x, 0.0, thickness / 2), thickness, "z")
        for index, (x, _) in enumerate(grid(length, 1))
    )
    return prism(outline, thickness, (0.0, 0.0, 0.0)) - cut


def angle_beam() -> Solid:
    long = capsule(4 * PITCH - 2 * CLEARANCE, BEAM / 2)
    short = capsule(2 * PITCH - 2 * CLEARANCE, BEAM / 2).rotate(90.0)
    outline = long.translate((0.0, -4.0)) + short.translate((12.0, 0.0))
    pins = [(x, -4.0) for x in (-12.0, -4.0, 4.0, 12.0)]
    cut = union(pin_hole((x, y, BEAM / 2), BEAM, "z") for x, y in pins)
    return prism(outline, BEAM, (0.0, 0.0, 0.0)) - cut - axle_hole((12.0, 4.0, 3.9), BEAM, "z")


def pin() -> Solid:
    """Return a pin along x: a collar between two slit ends."""
    end, collar, bore = PITCH - CLEARANCE, 0.8, 1.6
    body = revolved(
        [
            *((bore, -end), (2.6, -end), (2.6, 0.6 - end), (HOLE_RADIUS, 0.6 - end)),
            *((HOLE_RADIUS, -collar), (3.0, -collar), (3.0, collar), (HOLE_RADIUS, collar)),
            *((HOLE_RADIUS, end - 0.6), (2.6, end - 0.6), (2.6, end), (bore, end)),
        ]
    )
    slits = union(
        box((-PITCH, -0.4, low), (PITCH, 0.4, low + 5.0)) for low in (-end - 1.0, end - 4.0)
    )
    return (body - slits).rotate((0.0, 90.0, 0.0)).translate((0.0, 0.0, 3.0))


def axle(length: int) -> Solid:
    span = length * PITCH - 2 * CLEARANCE
    return prism(axle_cross(), span, (-span / 2, 0.0, 2.4), axis="x")


def bush() -> Solid:
    """Return an upright bush: a thin waist between two flanges, one of them with notches."""
    rim, waist, end, notch = BEAM / 2, 2.9, BEAM, 1.2
    body = revolved(
        [
            *((0.0, 0.0), (rim, 0.0), (rim, 1.6), (waist, 1.6)),
            *((waist, end - 2.4), (rim, end - 2.4), (rim, end), (0.0, end)),
        ]
    )
    notches = union(
        box((-notch, -5.0, end - 1.0), (notch, 5.0, end + 1.0)).rotate((0, 0, angle))
        for angle in (0.0, 90.0)
    )
    ring = notches - cylinder(waist, 4.0, (0.0, 0.0, end - 2.0))
    return body - ring - axle_hole((0.0, 0.0, end / 2), end, "z")


def side_stud() -> Solid:
    """Return a 1 x 1 brick with a second stud on its front."""
    front = cylinder(STUD_RADIUS, STUD_HEIGHT + 0.5, (0.0, 0.0, 0.0), axis="y")
    bored = front - cylinder(1.6, 4.0, (0.0, -0.1, 0.0), axis="y")
    return brick(1, 1) + bored.mirror((0, 1, 0)).translate((0.0, 0.5 - _half(1), HOLE_HEIGHT))


def headlight() -> Solid:
    """Return a 1 x 1 brick with a recessed stud on its front and a window at the back."""
    half, recess = _half(1), 1.6
    body = box((-half, -half, 0.0), (half, half, BRICK))
    notch = box((-PITCH, -PITCH, 1.8), (PITCH, recess - half, BRICK + 1.0))
    inside = box((-2.4, recess - half + 1.0, -1.0), (2.4, half - WALL, BRICK - ROOF))
    window = box((-2.4, 0.0, 3.2), (2.4, PITCH, 8.0))
    front = cylinder(STUD_RADIUS, recess + 0.5, (0.0, -half, HOLE_HEIGHT), axis="y")
    bore = cylinder(1.6, PITCH, (0.0, -half - 1.0, HOLE_HEIGHT), axis="y")
    top = studs([(0.0, 0.8)], BRICK, hollow=True)
    return ((body - notch) + front - inside - window - bore) + top


def wing(mirrored: bool) -> Solid:
    """Return a 2 x 4 plate whose right (or left) side tapers to half its width."""
    side = -1.0 if mirrored else 1.0
    border = [(-8.0, -16.0), (8.0, -16.0), (8.0, -8.0), (0.0, 16.0), (-8.0, 16.0)]
    outline = inset(polygon([(side * x, y) for x, y in border[:: int(side)]]), CLEARANCE)
    tops = [(-4.0, y) for y in (-12.0, -4.0, 4.0, 12.0)] + [(4.0, -12.0), (4.0, -4.0)]
    under = tubes(grid(2, 2), PLATE - ROOF).translate((0.0, -8.0, 0.0))
    post = cylinder(POST_RADIUS, PLATE - ROOF, (-4.0 * side, 8.0, 0.0))
    return shell(outline, PLATE) + under + post + studs([(side * x, y) for x, y in tops], PLATE)
