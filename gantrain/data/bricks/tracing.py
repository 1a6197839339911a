"""Ray tracing of one part on a white floor, lit by a bright window and a dim sky.

All computation is in the part's own coordinates: each view rotates the camera, the lights and the
floor instead of the part, so that a part is loaded into Embree once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from manifold3d import Manifold
from numpy.typing import NDArray

from gantrain.data.bricks.geometry import Solid, shaded_mesh
from gantrain.data.bricks.lines import line_cover
from gantrain.data.ldraw.meshes import FlatMesh

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

FLOOR = 0.80  # radiance of the unshadowed floor; 1 is white
MARGIN = 1.06  # width of the image relative to the part's diameter
SUBPIXELS = ((0.125, 0.625), (0.375, 0.125), (0.625, 0.875), (0.875, 0.375))  # rays in a pixel
FLOOR_GRID = 20  # points along each side of the image at which light on the floor is computed
FLOOR_BLUR = 0.6  # in grid steps
MAX_RAYS = 1 << 16  # traced at a time, to bound memory at any size
RAY_OFFSET = 2e-3  # millimetres from a surface at which shadow rays start

WINDOW = (-15.0, 57.0)  # azimuth and elevation of the main light, degrees
WINDOW_SPREAD = 11.0  # half angle of the main light, degrees; sets how soft shadows are
WINDOW_WEIGHT, SKY_WEIGHT = 0.85, 0.36  # relative intensity
LINE_DARKNESS = 0.7  # part of the light that a line along an edge takes
FLOOR_BOUNCE = 0.09  # light reflected by the floor onto a face that points straight down


@dataclass(frozen=True)
class Scene:
    """A part, loaded for tracing.

    tracer: its mesh in Embree.
    normals: float32 (m, 3, 3), unit normals at the three vertices of each triangle.
    corners: float64 (k, 3), vertices of its convex hull, millimetres.
    diameter: largest distance between two corners, millimetres.
    two_sided: whether normals may point to the inside, so that they are turned to the camera.
    edges: float32 (j, 2, 3), lines along sharp edges, millimetres.
    """

    tracer: Any
    normals: Floats
    corners: Doubles
    diameter: float
    two_sided: bool
    edges: Floats


@dataclass(frozen=True)
class _Frame:
    """A view of a rotated part: unit vectors and lengths in the part's coordinates."""

    right: Doubles
    up: Doubles
    forward: Doubles
    zenith: Doubles
    floor: float  # height of the floor along the zenith
    centre: tuple[float, float]  # of the part, along right and up
    extent: tuple[float, float]  # half the part's width and height in the image
    half_width: float  # of the image
    lights: Floats  # (k, 3), directions towards the lights, for the part
    floor_lights: Floats  # the same for the floor


def load_scene(solid: Solid) -> Scene:
    """Load a solid (see `geometry`) into Embree, without edges."""
    mesh = shaded_mesh(solid)
    corners = np.asarray(solid.hull().to_mesh().vert_properties, np.float64)[:, :3]
    no_edges = np.empty((0, 2, 3), np.float32)
    return _scene(mesh.vertices, mesh.faces, mesh.normals[mesh.faces], corners, False, no_edges)


def load_flat_scene(mesh: FlatMesh) -> Scene:
    """Load a part of an LDraw library into Embree."""
    vertices = mesh.corners.reshape(-1, 3)
    faces = np.arange(len(vertices), dtype=np.int32).reshape(-1, 3)
    normals = np.repeat(mesh.normals[:, None], 3, axis=1)
    points = np.unique(vertices, axis=0).astype(np.float64)
    hull = Manifold.hull_points(points).to_mesh()
    corners = np.asarray(hull.vert_properties, np.float64)[:, :3]
    if not len(corners):  # a flat part
        low, high = points.min(axis=0), points.max(axis=0)
        corners = np.stack(np.meshgrid(*zip(low, high, strict=True)), axis=-1).reshape(-1, 3)
    return _scene(vertices, faces, normals, corners, True, mesh.edges)


def _scene(
    vertices: Floats,
    faces: NDArray[np.int32],
    normals: Floats,
    corners: Doubles,
    two_sided: bool,
    edges: Floats,
) -> Scene:
    tracer = EmbreeScene()
    TriangleMesh(tracer, vertices, faces)
    diameter = max(float(np.linalg.norm(corners - corner, axis=1).max()) for corner in corners)
    return Scene(tracer, normals, corners, diameter, two_sided, edges)


def direction(azimuth: float, elevation: float) -> Doubles:
    """Return the unit vector at these angles in degrees; azimuth 0 is -y, 90 is +x."""
    a, e = math.radians(azimuth), math.radians(elevation)
    return np.array([math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)])


def _cone(axis: Doubles, low: float, high: float, count: int) -> Doubles:
    """Return (count, 3) unit vectors, evenly spread over cosines to the axis in (low, high)."""
    index = np.arange(count)
    cosine = high - (high - low) * (index + 0.5) / count
    angle = index * math.pi * (3.0 - math.sqrt(5.0))
    side = np.cross(axis, (0.0, 1.0, 0.0))
    side /= np.linalg.norm(side)
    around = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(axis, side)
    return np.asarray(cosine[:, None] * axis + np.sqrt(1.0 - cosine**2)[:, None] * around)


def _lights(window: int, sky: int) -> tuple[Doubles, Floats]:
    """Return directions (k, 3) and weights (k,) of that many lights of each kind.

    The weights are normalised so that an unshadowed floor receives 1.
    """
    zenith = np.array([0.0, 0.0, 1.0])
    edge = math.cos(math.radians(WINDOW_SPREAD))
    kinds = (
        (WINDOW_WEIGHT, _cone(direction(*WINDOW), edge, 1.0, window)),
        (SKY_WEIGHT, _cone(zenith, 0.0, 1.0, sky)),
    )
    directions = np.concatenate([kind for _, kind in kinds])
    weights = np.concatenate([np.full(len(kind), weight / len(kind)) for weight, kind in kinds])
    received = float(weights @ np.maximum(directions[:, 2], 0.0))
    return directions, (weights / received).astype(np.float32)


_LIGHTS, _WEIGHTS = _lights(8, 8)
_FLOOR_LIGHTS, _FLOOR_WEIGHTS = _lights(8, 16)


def _frame(scene: Scene, rotation: Doubles, toward_camera: Doubles) -> _Frame:
    zenith = np.array([0.0, 0.0, 1.0])
    right = np.cross(zenith, toward_camera)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(toward_camera, right), -toward_camera, zenith]) @ rotation
    along = scene.corners @ axes.T
    low, high = along.min(axis=0), along.max(axis=0)
    return _Frame(
        right=axes[0],
        up=axes[1],
        forward=axes[2],
        zenith=axes[3],
        floor=float(low[3]),
        centre=(float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2),
        extent=(float(high[0] - low[0]) / 2, float(high[1] - low[1]) / 2),
        half_width=scene.diameter / 2 * MARGIN,
        lights=(_LIGHTS @ rotation).astype(np.float32),
        floor_lights=(_FLOOR_LIGHTS @ rotation).astype(np.float32),
    )


def trace(
    scene: Scene,
    rotation: Doubles,
    toward_camera: Doubles,
    size: int,
    reflectance: Sequence[float],
    *,
    floor_reflectance: Sequence[float] | None = None,
    edges: bool = False,
) -> NDArray[np.uint8]:
    """Render the part; return uint8 (size, size, len(reflectance)), gamma 2.2.

    rotation: (3, 3) rotation of the part, which is then lowered until it touches the floor.
    toward_camera: (3,) unit vector; the projection is orthographic.
    reflectance: of the part, 0 to 1, for each channel.
    floor_reflectance: of the floor, relative to the white one; None for white.
    edges: whether to draw the scene's edges.
    """
    frame = _frame(scene, rotation, toward_camera)
    light, cover = _part_light(scene, frame, size)
    floor = FLOOR * _floor_light(scene, frame, size) * (1.0 - cover)
    if edges:
        axes = (frame.right, frame.up, frame.forward)
        light *= 1.0 - LINE_DARKNESS * line_cover(
            scene.tracer, scene.edges, axes, frame.centre, frame.half_width, size
        )
    ground = floor_reflectance or (1.0,) * len(reflectance)
    channels = [
        light * part + floor * below for part, below in zip(reflectance, ground, strict=True)
    ]
    linear = np.clip(np.stack(channels, axis=-1), 0.0, 1.0)
    return np.asarray(np.rint(255.0 * linear ** (1 / 2.2)), np.uint8)


def _part_light(scene: Scene, frame: _Frame, size: int) -> tuple[Floats, Floats]:
    """Return the light on the part (before its reflectance) and its coverage of each pixel.

    Both float32 (size, size). Each of a pixel's rays samples a different subset of the lights.
    """
    light = np.zeros((size, size), np.float32)
    cover = np.zeros((size, size), np.float32)
    for subset, (x, y) in enumerate(SUBPIXELS):
        across = ((np.arange(size) + x) * (2.0 / size) - 1.0) * frame.half_width
        upward = (1.0 - (np.arange(size) + y) * (2.0 / size)) * frame.half_width
        columns = np.flatnonzero(np.abs(across) <= frame.extent[0])
        rows = np.flatnonzero(np.abs(upward) <= frame.extent[1])
        along = (frame.centre[0] + across[columns])[:, None] * frame.right
        start = (along - 2.0 * scene.diameter * frame.forward).astype(np.float32)
        offset = ((frame.centre[1] + upward[rows])[:, None, None] * frame.up).astype(np.float32)
        band = max(1, MAX_RAYS // max(1, len(columns)))
        for first in range(0, len(rows), band):
            origins = start + offset[first : first + band]
            hit, values = _shade(scene, frame, origins.reshape(-1, 3), subset)
            row, column = rows[first + hit // len(columns)], columns[hit % len(columns)]
            light[row, column] += values
            cover[row, column] += np.float32(1.0 / len(SUBPIXELS))
    return light, cover


def _shade(
    scene: Scene, frame: _Frame, origins: Floats, subset: int
) -> tuple[NDArray[np.intp], Floats]:
    """Return indices (h,) of the rays that hit the part, and the light (h,) that each one adds."""
    forward = frame.forward.astype(np.float32)
    result = scene.tracer.run(origins, np.broadcast_to(forward, origins.shape), output=True)
    hit = np.flatnonzero(result["primID"] >= 0)
    u, v = result["u"][hit, None], result["v"][hit, None]
    corner = scene.normals[result["primID"][hit]]
    normals = corner[:, 0] * (1 - u - v) + corner[:, 1] * u + corner[:, 2] * v
    normals /= np.sqrt(np.einsum("ij,ij->i", normals, normals))[:, None]
    if scene.two_sided:
        normals[normals @ forward > 0] *= -1
    points = origins[hit] + forward * result["tfar"][hit, None] + normals * np.float32(RAY_OFFSET)
    lights = frame.lights[subset :: len(SUBPIXELS)]
    facing = lights @ normals.T * _WEIGHTS[subset :: len(SUBPIXELS), None]
    bounce = FLOOR_BOUNCE / len(SUBPIXELS) * (1 - normals @ frame.zenith.astype(np.float32)) / 2
    return hit, _visible_light(scene, points, facing, lights) + bounce


def _visible_light(scene: Scene, points: Floats, facing: Floats, lights: Floats) -> Floats:
    """Return the light (n,) at points (n, 3) from lights (k, 3), shadowed by the part.

    facing: (k, n), the unshadowed contribution of each light; 0 or less for light from behind.
    """
    contribution = np.maximum(facing, np.float32(0.0))
    light, point = np.nonzero(contribution)
    blocked = scene.tracer.run(points[point], lights[light], query="OCCLUDED") >= 0
    contribution[light[blocked], point[blocked]] = 0.0
    return np.asarray(contribution.sum(axis=0), np.float32)


def _floor_light(scene: Scene, frame: _Frame, size: int) -> Floats:
    """Return the light on the floor at each pixel, float32 (size, size), 1 where unshadowed.

    It varies slowly, so a coarse grid is sufficient at any image size.
    """
    steps = ((np.arange(FLOOR_GRID) + 0.5) / FLOOR_GRID * 2.0 - 1.0) * frame.half_width
    across = (frame.centre[0] + steps)[None, :, None] * frame.right
    seen = (across + (frame.centre[1] - steps)[:, None, None] * frame.up).reshape(-1, 3)
    drop = (frame.floor - seen @ frame.zenith) / (frame.forward @ frame.zenith)
    points = (seen + drop[:, None] * frame.forward + RAY_OFFSET * frame.zenith).astype(np.float32)
    weight = _FLOOR_LIGHTS[:, 2].astype(np.float32) * _FLOOR_WEIGHTS
    facing = np.repeat(weight[:, None], len(points), axis=1)
    grid = _visible_light(scene, points, facing, frame.floor_lights).reshape(FLOOR_GRID, FLOOR_GRID)
    pixel = (np.arange(size) + 0.5) / size * FLOOR_GRID
    distance = (pixel[:, None] - np.arange(FLOOR_GRID) - 0.5) / FLOOR_BLUR
    blend = np.exp(-(distance**2) / 2)
    blend /= blend.sum(axis=1, keepdims=True)
    return np.asarray(blend @ grid @ blend.T, np.float32)
