"""Constructive solid geometry for LEGO parts, in millimetres.

The dimensions are the nominal ones of the LDraw parts library, in which parts have no clearance.

Axes: z points up; a part rests on z = 0 and is centred on the origin in x and y. Columns run along
x, rows along y. A `Solid` is a `manifold3d.Manifold`, an `Outline` a `manifold3d.CrossSection`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from manifold3d import CrossSection, JoinType, Manifold, OpType
from numpy.typing import NDArray

Solid: TypeAlias = Any  # manifold3d has no stubs that mypy --strict can follow
Outline: TypeAlias = Any
Axis = Literal["x", "y", "z"]
Point = tuple[float, float]
Point3 = tuple[float, float, float]

PITCH = 8.0
BRICK = 9.6  # heights
PLATE = 3.2
WALL = 1.6
ROOF = 1.6  # thickness under the studs
GROOVE = 0.4  # height and depth of the groove around a tile's foot
STUD_RADIUS = 2.4
STUD_HEIGHT = 1.6
BORE_RADIUS = 1.6  # of a hollow stud
TUBE_RADIUS = 3.2
POST_RADIUS = 1.6
HOLE_RADIUS = 2.4
HOLE_RIM_RADIUS = 3.2
HOLE_RIM_DEPTH = 0.8
AXLE_LENGTH, AXLE_WIDTH = 4.8, 1.6  # the cross: tip to tip, and the width of an arm
SEGMENTS = 48  # sides of a full circle

_OVERSHOOT = 1.0  # how far cutting solids extend past the surface they cut


def union(solids: Iterable[Solid]) -> Solid:
    """Return the union of the solids."""
    return Manifold.batch_boolean(list(solids), OpType.Add)


def box(low: Point3, high: Point3) -> Solid:
    """Return the axis-aligned box between two corners."""
    size = tuple(b - a for a, b in zip(low, high, strict=True))
    return Manifold.cube(size).translate(low)


def cylinder(
    radius: float, length: float, origin: Point3, *, axis: Axis = "z", top: float | None = None
) -> Solid:
    """Return a cylinder, or a frustum with end radius `top`.

    The centre of its base is `origin`; it extends `length` along the positive axis.
    """
    solid = Manifold.cylinder(length, radius, radius if top is None else top, SEGMENTS)
    return _oriented(solid, axis).translate(origin)


def prism(outline: Outline, length: float, origin: Point3, *, axis: Axis = "z") -> Solid:
    """Return an outline extruded along the positive axis, from `origin`.

    The outline's (u, v) map to (x, y) for axis z, (y, z) for x and (x, z) for y.
    """
    return _oriented(Manifold.extrude(outline, length), axis).translate(origin)


def _oriented(solid: Solid, axis: Axis) -> Solid:
    """Map z to `axis`, and the plane (x, y) to the plane documented in `prism`."""
    if axis == "x":
        return solid.rotate((90.0, 0.0, 90.0))
    if axis == "y":  # the rotation maps z to -y, so mirror first
        return solid.mirror((0.0, 0.0, 1.0)).rotate((90.0, 0.0, 0.0))
    return solid


def polygon(points: Sequence[Point]) -> Outline:
    """Return a simple polygon from its vertices, counter-clockwise."""
    return CrossSection([list(points)])


def circle(radius: float) -> Outline:
    """Return a circle around the origin."""
    return CrossSection.circle(radius, SEGMENTS)


def axle_cross() -> Outline:
    """Return the cross of a Technic axle around the origin."""
    bar = CrossSection.square((AXLE_LENGTH, AXLE_WIDTH), True)
    return (bar + bar.rotate(90.0)) ^ circle(AXLE_LENGTH / 2)


def inset(outline: Outline, distance: float) -> Outline:
    """Return the outline with its border moved inwards, with sharp corners."""
    return outline.offset(-distance, JoinType.Miter)


def grid(columns: int, rows: int) -> tuple[Point, ...]:
    """Return the centres of a grid of cells around the origin."""
    return tuple(
        ((i - (columns - 1) / 2) * PITCH, (j - (rows - 1) / 2) * PITCH)
        for j in range(rows)
        for i in range(columns)
    )


def footprint(cells: Iterable[Point]) -> Outline:
    """Return the outline of a part that covers these cells."""
    square = CrossSection.square((PITCH, PITCH), True)
    return CrossSection.batch_boolean([square.translate(cell) for cell in cells], OpType.Add)


def shell(outline: Outline, height: float, *, wall: float = WALL) -> Solid:
    """Return a body that is hollow and open at the bottom: walls along the outline, and a roof."""
    cavity = prism(inset(outline, wall), height - ROOF + _OVERSHOOT, (0.0, 0.0, -_OVERSHOOT))
    return prism(outline, height, (0.0, 0.0, 0.0)) - cavity


def studs(centres: Iterable[Point], z: float, *, hollow: bool = False) -> Solid:
    """Return studs at height z; hollow ones have a bore."""
    solid = union(cylinder(STUD_RADIUS, STUD_HEIGHT, (x, y, z)) for x, y in centres)
    if not hollow:
        return solid
    return solid - union(cylinder(BORE_RADIUS, 2 * STUD_HEIGHT, (x, y, z)) for x, y in centres)


def tubes(cells: Iterable[Point], height: float) -> Solid:
    """Return the tubes between each four cells, and the posts between two cells of a 1-wide row.

    They grip the studs of the part below.
    """
    cells = set(cells)
    corners = [
        (x + PITCH / 2, y + PITCH / 2)
        for x, y in sorted(cells)
        if {(x + PITCH, y), (x, y + PITCH), (x + PITCH, y + PITCH)} <= cells
    ]
    solids = [
        cylinder(TUBE_RADIUS, height, (x, y, 0.0))
        - cylinder(STUD_RADIUS, height + 2 * _OVERSHOOT, (x, y, -_OVERSHOOT))
        for x, y in corners
    ]
    near = {(x + dx, y + dy) for x, y in corners for dx in (-4.0, 4.0) for dy in (-4.0, 4.0)}
    for x, y in sorted(cells - near):
        for dx, dy in ((PITCH, 0.0), (0.0, PITCH)):
            if (x + dx, y + dy) in cells - near:
                solids.append(cylinder(POST_RADIUS, height, (x + dx / 2, y + dy / 2, 0.0)))
    return union(solids)


def block(cells: Sequence[Point], height: float) -> Solid:
    """Return a brick or a plate without studs: a shell with tubes or posts."""
    return shell(footprint(cells), height) + tubes(cells, height - ROOF)


def slanted(profile: Outline, low: float, high: float) -> Solid:
    """Return a hollow slope, open at the bottom: a profile in (y, z) extruded from x = low to high.

    The profile must be convex.
    """
    inner = inset(profile, WALL)
    opened = CrossSection.batch_hull([inner, inner.translate((0.0, -WALL - _OVERSHOOT))])
    cavity = prism(opened, high - low - 2 * WALL, (low + WALL, 0.0, 0.0), axis="x")
    return prism(profile, high - low, (low, 0.0, 0.0), axis="x") - cavity


def pin_hole(centre: Point3, depth: float, axis: Axis) -> Solid:
    """Return the hole for a Technic pin: a bore through `depth` with a wider rim at both ends.

    centre: the middle of the bore.
    """
    length = HOLE_RIM_DEPTH + _OVERSHOOT
    start, end = -depth / 2, depth / 2
    bore = cylinder(HOLE_RADIUS, depth, shifted(centre, axis, start), axis=axis)
    rims = [
        cylinder(HOLE_RIM_RADIUS, length, shifted(centre, axis, low), axis=axis)
        for low in (start - _OVERSHOOT, end + _OVERSHOOT - length)
    ]
    return union((bore, *rims))


def axle_hole(centre: Point3, depth: float, axis: Axis) -> Solid:
    """Return the hole for a Technic axle, through `depth`.

    It is a little tighter than the axle: where it ends in a bore of the same radius, surfaces would
    coincide.
    """
    start = shifted(centre, axis, -depth / 2 - _OVERSHOOT)
    return prism(inset(axle_cross(), 0.01), depth + 2 * _OVERSHOOT, start, axis=axis)


def shifted(point: Point3, axis: Axis, distance: float) -> Point3:
    """Return the point, moved along an axis."""
    x, y, z = point
    return (
        x + distance * (axis == "x"),
        y + distance * (axis == "y"),
        z + distance * (axis == "z"),
    )


def revolved(points: Sequence[Point]) -> Solid:
    """Return the solid of revolution of a profile in (radius, z) around z."""
    return Manifold.revolve(polygon(points), SEGMENTS)


def capsule(length: float, radius: float) -> Outline:
    """Return a bar with round ends, centred on the origin along x; `length` is from tip to tip."""
    ends = [circle(radius).translate((side * (length / 2 - radius), 0.0)) for side in (-1, 1)]
    return CrossSection.batch_hull(ends)


@dataclass(frozen=True)
class Mesh:
    """A closed triangle mesh with shading normals.

    vertices: float32 (n, 3), millimetres; vertices on a sharp edge are duplicated.
    faces: int32 (m, 3), vertex indices, counter-clockwise seen from outside.
    normals: float32 (n, 3), outward unit vectors, smooth over round surfaces, split at sharp edges.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32]


def shaded_mesh(solid: Solid) -> Mesh:
    """Triangulate the solid's surface; edges of less than 30 degrees are shaded smoothly."""
    mesh = solid.calculate_normals(0, 30.0).to_mesh()
    columns = np.asarray(mesh.vert_properties, np.float32)
    return Mesh(
        np.ascontiguousarray(columns[:, :3]),
        np.ascontiguousarray(mesh.tri_verts, np.int32),
        np.ascontiguousarray(columns[:, 3:6]),
    )
