"""Construction of each kind of LEGO part, in millimetres.

Every part rests on z = 0, studs up, centred in x and y on the cells it covers.
"""

from collections.abc import Sequence
from math import atan2, degrees

from gantrain.data.bricks.geometry import (
    BORE_RADIUS,
    BRICK,
    GROOVE,
    PITCH,
    PLATE,
    ROOF,
    STUD_HEIGHT,
    STUD_RADIUS,
    TUBE_RADIUS,
    WALL,
    Outline,
    Point,
    Solid,
    axle_hole,
    block,
    box,
    circle,
    cylinder,
    footprint,
    grid,
    inset,
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
FOOT = 2.0  # height of the neck that fits between studs, under a round 1 x 1 part
_CORNER: tuple[Point, ...] = ((-4.0, -4.0), (4.0, -4.0), (-4.0, 4.0))


def brick(columns: int, rows: int, height: float = BRICK) -> Solid:
    cells = grid(columns, rows)
    return block(cells, height) + studs(cells, height)


def corner(height: float) -> Solid:
    return block(_CORNER, height) + studs(_CORNER, height)


def jumper() -> Solid:
    return block(grid(2, 1), PLATE) + studs([(0.0, 0.0)], PLATE)


def _groove(outline: Outline) -> Solid:
    """Return what is cut from the foot of a tile, so that a fingernail can lift it."""
    ring = inset(outline, -1.0) - inset(outline, GROOVE)
    return prism(ring, GROOVE + 1.0, (0.0, 0.0, -1.0))


def tile(columns: int, rows: int) -> Solid:
    cells = grid(columns, rows)
    return block(cells, PLATE) - _groove(footprint(cells))


def plain_tile() -> Solid:
    """Return a 1 x 1 tile without a groove."""
    return block(grid(1, 1), PLATE)


def round_tile() -> Solid:
    """Return a round 2 x 2 tile: a disc on four feet and a cross, all between the studs below."""
    half, height = _half(2), PLATE - ROOF
    corners = union(cylinder(STUD_RADIUS, PLATE, (x, y, ROOF - PLATE)) for x, y in grid(2, 2))
    bars = [box((-3.25, -0.4, 0.0), (3.25, 0.4, height)).rotate((0, 0, turn)) for turn in (45, -45)]
    return (shell(circle(half), PLATE) - _groove(circle(half)) - corners) + union(bars)


def _half(count: int) -> float:
    return count * PITCH / 2


def _ramp(rows: int) -> Outline:
    """Return a profile in (y, z): full height in the back row, sloping down to a lip in front."""
    half = _half(rows)
    return polygon([(-half, 0.0), (half, 0.0), (half, BRICK), (half - PITCH, BRICK), (-half, LIP)])


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
    """Return the 1 x 1 slope, a hollow wedge with a groove around its foot and chamfered edges."""
    half, top, chamfer, corner = _half(1), 6.24, 0.8, 0.236
    back = half - 0.267  # where the slope reaches the top
    outer = polygon([(-half, 0.0), (half, 0.0), (half, top), (back, top), (-half, LIP)])
    right = [(half, top - chamfer), (half - corner, top - corner), (half - chamfer, top)]
    left = [(-x, z) for x, z in reversed(right)]
    across = polygon([(-half, 0.0), (half, 0.0), *right, *left])
    body = prism(outer, 2 * half, (-half, 0.0, 0.0), axis="x")
    body ^= prism(across, 2 * half, (0.0, -half, 0.0), axis="y")
    side = half - WALL
    cavity = polygon([(-side, -1.0), (side, -1.0), (side, 4.24), (-side, 1.36)])
    return (
        body
        - _groove(footprint([(0.0, 0.0)]))
        - prism(cavity, 2 * side, (-side, 0.0, 0.0), axis="x")
    )


def ridge() -> Solid:
    half = _half(2)
    profile = polygon([(-half, 0.0), (half, 0.0), (half, LIP), (0.0, BRICK), (-half, LIP)])
    return slanted(profile, -_half(1), _half(1))


def hip() -> Solid:
    half = _half(2)
    roof = slanted(_ramp(2), -half, half)
    wedge = prism(_ramp(2), 2 * half, (-half, 0.0, 0.0), axis="x")
    across = wedge.rotate((0.0, 0.0, -90.0))
    outer = wedge ^ across
    hollow = (wedge - roof) ^ (across - roof.rotate((0.0, 0.0, -90.0)))
    tube = tubes(grid(2, 2), BRICK) ^ outer
    solid = (outer - hollow) + tube + studs([(4.0, 4.0)], BRICK)
    return solid.rotate((0.0, 0.0, 90.0))


def inverted_slope(columns: int) -> Solid:
    half, depth = _half(columns), _half(2)
    overhang = polygon(
        [(0.0, 0.0), (depth, 0.0), (depth, BRICK), (-depth, BRICK), (-depth, BRICK - LIP)]
    )
    body = prism(overhang, 2 * half, (-half, 0.0, 0.0), axis="x")
    cavity = box((WALL - half, WALL, -1.0), (half - WALL, depth - WALL, BRICK - ROOF))
    return (body - cavity) + studs(grid(columns, 2), BRICK)


def _on_foot(outline: Sequence[Point], bore: float) -> Solid:
    """Return a solid of revolution on a neck that fits between studs, hollow up to height `bore`.

    outline: (radius, z) of the body, from the top of the neck to the axis.
    """
    body = revolved([(0.0, 0.0), (TUBE_RADIUS, 0.0), (TUBE_RADIUS, FOOT), *outline])
    return body - cylinder(STUD_RADIUS, bore + 1.0, (0.0, 0.0, -1.0))


def round_brick() -> Solid:
    """Return a round 1 x 1 brick, which is hollow from the stud to the base."""
    half = _half(1)
    body = _on_foot([(half, FOOT), (half, BRICK), (0.0, BRICK)], BRICK - ROOF)
    return body + studs([(0.0, 0.0)], BRICK) - _bore(0.0, BRICK + STUD_HEIGHT)


def round_plate() -> Solid:
    half = _half(1)
    body = _on_foot([(half, FOOT), (half, PLATE), (0.0, PLATE)], FOOT)
    return body + studs([(0.0, 0.0)], PLATE)


def small_cone() -> Solid:
    """Return a 1 x 1 cone, with an axle hole between the bores of its stud and of its foot."""
    top = BRICK + STUD_HEIGHT
    cone = [(_half(1), FOOT), (STUD_RADIUS, BRICK), (STUD_RADIUS, top), (0.0, top)]
    return _on_foot(cone, 2.4) - axle_hole((0.0, 0.0, 2.4), 2.8, "z") - _bore(4.8, top)


def _bore(low: float, high: float) -> Solid:
    return cylinder(BORE_RADIUS, high - low + 1.0, (0.0, 0.0, low))


def _between_feet() -> Solid:
    """Return what is cut from the base of a round 2 x 2 part, which leaves four feet.

    It is a little larger than it should be: a cut through vertices leaves surfaces that are not
    manifold.
    """
    spare = 0.01
    wide = _half(2) - WALL + spare
    return box((-wide, -wide, -1.0), (wide, wide, WALL + spare))


def _centre_tube(height: float, bore: float) -> Solid:
    tube = cylinder(TUBE_RADIUS, height, (0.0, 0.0, 0.0))
    return tube - cylinder(STUD_RADIUS, bore + 1.0, (0.0, 0.0, -1.0))


def large_round(height: float) -> Solid:
    """Return a round 2 x 2 body on four feet, with an axle hole through its centre tube."""
    body = shell(circle(_half(2)), height) - _between_feet() + _centre_tube(height, WALL)
    tops = studs(grid(2, 2), height) ^ cylinder(_half(2), 2 * height, (0.0, 0.0, 0.0))
    return body - axle_hole((0.0, 0.0, height / 2 + WALL), height, "z") + tops


def large_cone() -> Solid:
    """Return a 2 x 2 x 2 cone on four feet, with an axle hole under its hollow stud."""
    low, high, height = _half(2), _half(1), 2 * BRICK
    inner, roof = low - WALL, height - ROOF
    top = TUBE_RADIUS - 0.01  # the cavity ends inside of the tube
    outside = [(0.0, 0.0), (low, 0.0), (low, WALL), (high, height), (0.0, height)]
    inside = [(0.0, -1.0), (inner, -1.0), (inner, WALL), (top, roof), (0.0, roof)]
    body = revolved(outside) - revolved(inside) - _between_feet()
    body += _centre_tube(height, roof - 2 * WALL) + studs([(0.0, 0.0)], height)
    hole = axle_hole((0.0, 0.0, roof - 2.0), 2.0, "z")  # cut from below, up to the roof
    return body - hole - _bore(roof, height + STUD_HEIGHT)


def arch(columns: int) -> Solid:
    """Return a 1-wide arch on two legs of one cell each, hollow throughout."""
    half, radius = _half(columns), (columns - 2) * PITCH / 2
    spring = BRICK - 2 * WALL - radius  # height of the centre of the arc
    edge = max(spring, 0.0)
    opening = circle(radius).translate((0.0, spring)) + polygon(
        [(-radius, -PITCH), (radius, -PITCH), (radius, edge), (-radius, edge)]
    )
    body = box((-half, -_half(1), 0.0), (half, _half(1), BRICK))
    tunnel = prism(opening, 2 * PITCH, (0.0, -PITCH, 0.0), axis="y")
    across, roof = _half(1) - WALL, BRICK - ROOF
    spans = ((radius + WALL, half - WALL), (-radius, radius), (WALL - half, -radius - WALL))
    hollows = union(box((low, -across, -1.0), (high, across, roof)) for low, high in spans)
    return (body - tunnel - hollows) + studs(grid(columns, 1), BRICK)


def side_stud() -> Solid:
    """Return a 1 x 1 brick with a second stud on its front."""
    front = cylinder(STUD_RADIUS, STUD_HEIGHT + 0.5, (0.0, 0.0, 0.0), axis="y")
    bored = front.mirror((0, 1, 0)).translate((0.0, 0.5 - _half(1), HOLE_HEIGHT))
    bore = cylinder(BORE_RADIUS, PITCH, (0.0, -PITCH, HOLE_HEIGHT), axis="y")
    return brick(1, 1) + bored - bore


def headlight() -> Solid:
    """Return a 1 x 1 brick with a recessed stud on its front and a window at the back."""
    half, depth, inner = _half(1), STUD_HEIGHT, 2.4
    body = box((-half, -half, 0.0), (half, half, BRICK))
    notch = box((-PITCH, -PITCH, WALL), (PITCH, depth - half, BRICK + 1.0))
    inside = box((-inner, 2 * WALL - half, -1.0), (inner, inner, BRICK - ROOF))
    below = box((-inner, WALL - half, -1.0), (inner, inner, WALL))
    window = box((-inner, 0.0, 2 * WALL), (inner, PITCH, BRICK - ROOF))
    front = cylinder(STUD_RADIUS, depth + 0.5, (0.0, -half, HOLE_HEIGHT), axis="y")
    bore = cylinder(BORE_RADIUS, PITCH, (0.0, -half - 1.0, HOLE_HEIGHT), axis="y")
    bore -= box((-PITCH, 0.0, 0.0), (PITCH, PITCH, BRICK))
    top = studs([(0.0, 0.0)], BRICK)
    return ((body - notch) + front - inside - below - window - bore) + top


def wing(side: float) -> Solid:
    """Return a 2 x 4 plate that tapers to half its width.

    side: 1 if its studs are at positive x, -1 if they are at negative x.
    """
    border = [(0.0, -16.0), (8.0, -16.0), (8.0, 16.0), (-8.0, 16.0)]
    outline = polygon([(side * x, y) for x, y in border[:: int(side)]])
    under = tubes(grid(2, 2), PLATE - ROOF)
    tops = studs([(side * 4.0, y) for y in (-12.0, -4.0, 4.0, 12.0)], PLATE)
    # Studs of the part below fit into notches in the tapered side's wall.
    spans = ((10.3, 14.8), (18.0, 22.8), (26.1, 30.1))
    notches = union(box((-WALL, low, -1.0), (WALL, high, WALL)) for low, high in spans)
    notches = notches.rotate((0.0, 0.0, side * degrees(atan2(8.0, 32.0))))
    inside = union(under.translate((0.0, y, 0.0)) for y in (0.0, 8.0))
    return (shell(outline, PLATE) - notches.translate((0.0, -16.0, 0.0))) + inside + tops
