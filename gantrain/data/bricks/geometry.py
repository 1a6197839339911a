"""Solids that LEGO parts are made of: exact boolean geometry in millimetres.

Axes: z points up, a part stands on z = 0 and is centred on the origin in x and y. Columns run along
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
CLEARANCE = 0.1  # between a part and the border of its cells, on each side
WALL = 1.5
ROOF = 1.0  # thickness under the studs
STUD_RADIUS = 2.4
STUD_HEIGHT = 1.7
TUBE_RADIUS = 6.51 / 2
POST_RADIUS = 1.6
HOLE_RADIUS = 2.4
HOLE_RIM_RADIUS = 3.1
HOLE_RIM_DEPTH = 0.8
AXLE_LENGTH, AXLE_WIDTH = 4.8, 1.8  # the cross: from tip to tip, and an arm's width
SEGMENTS = 48  # sides of a full circle

_BELOW = 1.0  # how far cutters reach past the surface they open


def union(solids: Iterable[Solid]) -> Solid:
    """All of the solids in one."""
    return Manifold.batch_boolean(list(solids), OpType.Add)


def box(low: Point3, high: Point3) -> Solid:
    """The axis-aligned box between two corners."""
    size = tuple(b - a for a, b in zip(low, high, strict=True))
    return Manifold.cube(size).translate(low)


def cylinder(
    radius: float, length: float, at: Point3, *, axis: Axis = "z", top: float | None = None
) -> Solid:
    """A cylinder, or a frustum that ends in radius `top`, whose base's centre is `at`.

    It extends `length` along the positive axis.
    """
    solid = Manifold.cylinder(length, radius, radius if top is None else top, SEGMENTS)
    return _turned(solid, axis).translate(at)


def prism(outline: Outline, length: float, at: Point3, *, axis: Axis = "z") -> Solid:
    """An outline drawn out along the positive axis, its origin at `at`.

    The outline's (u, v) lie along (x, y) for axis z, (y, z) for x and (x, z) for y.
    """
    return _turned(Manifold.extrude(outline, length), axis).translate(at)


def _turned(solid: Solid, axis: Axis) -> Solid:
    """Take z to `axis`, and the plane (x, y) to the plane that `prism` documents."""
    if axis == "x":
        return solid.rotate((90.0, 0.0, 90.0))
    if axis == "y":  # the quarter turn points down the axis, so the solid is mirrored to point up
        return solid.mirror((0.0, 0.0, 1.0)).rotate((90.0, 0.0, 0.0))
    return solid


def polygon(points: Sequence[Point]) -> Outline:
    """A simple polygon, given counter-clockwise."""
    return CrossSection([list(points)])


def circle(radius: float) -> Outline:
    """A circle about the origin."""
    return CrossSection.circle(radius, SEGMENTS)


def axle_cross(grow: float = 0.0) -> Outline:
    """The cross of a Technic axle about the origin, made wider by `grow` on each side."""
    length, width = AXLE_LENGTH + 2 * grow, AXLE_WIDTH + 2 * grow
    arms = CrossSection.square((length, width), True) + CrossSection.square((width, length), True)
    return arms ^ circle(length / 2)


def inset(outline: Outline, distance: float) -> Outline:
    """The outline with its border moved inwards, corners kept sharp."""
    return outline.offset(-distance, JoinType.Miter)


def grid(columns: int, rows: int) -> tuple[Point, ...]:
    """Centres of a block of cells about the origin."""
    return tuple(
        ((i - (columns - 1) / 2) * PITCH, (j - (rows - 1) / 2) * PITCH)
        for j in range(rows)
        for i in range(columns)
    )


def footprint(cells: Iterable[Point]) -> Outline:
    """The outline of a part that stands on these cells, less the clearance."""
    square = CrossSection.square((PITCH, PITCH), True)
    whole = CrossSection.batch_boolean([square.translate(cell) for cell in cells], OpType.Add)
    return inset(whole, CLEARANCE)


def shell(outline: Outline, height: float, *, wall: float = WALL) -> Solid:
    """A body hollowed from below: walls along the outline, a roof on top."""
    cavity = prism(inset(outline, wall), height - ROOF + _BELOW, (0.0, 0.0, -_BELOW))
    return prism(outline, height, (0.0, 0.0, 0.0)) - cavity


def studs(at: Iterable[Point], z: float, *, hollow: bool = False) -> Solid:
    """Studs that stand on height z; hollow ones have a bore that a bar fits."""
    solids = (cylinder(STUD_RADIUS, STUD_HEIGHT, (x, y, z)) for x, y in at)
    whole = union(solids)
    if not hollow:
        return whole
    return whole - union(cylinder(1.6, 2 * STUD_HEIGHT, (x, y, z)) for x, y in at)


def tubes(cells: Iterable[Point], height: float) -> Solid:
    """What grips studs from below: tubes amid four cells, posts between two where one is wide."""
    cells = set(cells)
    corners = [
        (x + PITCH / 2, y + PITCH / 2)
        for x, y in sorted(cells)
        if {(x + PITCH, y), (x, y + PITCH), (x + PITCH, y + PITCH)} <= cells
    ]
    solids = [
        cylinder(TUBE_RADIUS, height, (x, y, 0.0))
        - cylinder(STUD_RADIUS, height + 2 * _BELOW, (x, y, -_BELOW))
        for x, y in corners
    ]
    near = {(x + dx, y + dy) for x, y in corners for dx in (-4.0, 4.0) for dy in (-4.0, 4.0)}
    for x, y in sorted(cells - near):
        for dx, dy in ((PITCH, 0.0), (0.0, PITCH)):
            if (x + dx, y + dy) in cells - near:
                solids.append(cylinder(POST_RADIUS, height, (x + dx / 2, y + dy / 2, 0.0)))
    return union(solids)


def block(cells: Sequence[Point], height: float) -> Solid:
    """A brick or a plate without its studs: a hollow body with tubes or posts."""
    return shell(footprint(cells), height) + tubes(cells, height - ROOF)


def slanted(profile: Outline, low: float, high: float) -> Solid:
    """A hollow roof brick: a profile in (y, z) drawn out from x = low to high, open at the bottom.

    The profile must be convex.
    """
    inner = inset(profile, WALL)
    opened = CrossSection.batch_hull([inner, inner.translate((0.0, -WALL - _BELOW))])
    cavity = prism(opened, high - low - 2 * WALL, (low + WALL, 0.0, 0.0), axis="x")
    return prism(profile, high - low, (low, 0.0, 0.0), axis="x") - cavity


def pin_hole(centre: Point3, depth: float, axis: Axis) -> Solid:
    """What to cut for a Technic pin: a bore through `depth` with a wider rim at both ends.

    centre: the middle of the bore.
    """
    rim = HOLE_RIM_DEPTH + _BELOW
    half = depth / 2
    return union(
        (
            cylinder(HOLE_RADIUS, depth, shifted(centre, axis, -half), axis=axis),
            cylinder(HOLE_RIM_RADIUS, rim, shifted(centre, axis, -half - _BELOW), axis=axis),
            cylinder(HOLE_RIM_RADIUS, rim, shifted(centre, axis, half + _BELOW - rim), axis=axis),
        )
    )


def axle_hole(centre: Point3, depth: float, axis: Axis) -> Solid:
    """What to cut for a Technic axle, through and through."""
    start = shifted(centre, axis, -depth / 2 - _BELOW)
    return prism(axle_cross(0.1), depth + 2 * _BELOW, start, axis=axis)


def shifted(point: Point3, axis: Axis, distance: float) -> Point3:
    """The point moved along an axis."""
    x, y, z = point
    return (
        x + distance * (axis == "x"),
        y + distance * (axis == "y"),
        z + distance * (axis == "z"),
    )


def turned_profile(points: Sequence[Point]) -> Solid:
    """The solid that a profile in (radius, z) makes in a full turn about z."""
    return Manifold.revolve(polygon(points), SEGMENTS)


def capsule(length: float, radius: float) -> Outline:
    """A bar with round ends about the origin along x; `length` is from tip to tip."""
    ends = [circle(radius).translate((side * (length / 2 - radius), 0.0)) for side in (-1, 1)]
    return CrossSection.batch_hull(ends)


@dataclass(frozen=True)
class Mesh:
    """Triangles of a closed surface, with normals to shade it by.

    vertices: float32 (n, 3), millimetres; one vertex is there once for each crease it lies on.
    faces: int32 (m, 3), indices of vertices, counter-clockwise seen from outside.
    normals: float32 (n, 3), outward unit vectors, smooth over round faces, split at edges.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32]


def shaded_mesh(solid: Solid) -> Mesh:
    """The solid's surface as triangles; faces that meet at less than 30 degrees count as one."""
    mesh = solid.calculate_normals(0, 30.0).to_mesh()
    columns = np.asarray(mesh.vert_properties, np.float32)
    return Mesh(
        np.ascontiguousarray(columns[:, :3]),
        np.ascontiguousarray(mesh.tri_verts, np.int32),
        np.ascontiguousarray(columns[:, 3:6]),
    )
