"""One part on a white floor, ray traced: a bright window, a dim sky, soft shadows.

Everything happens in the part's own frame: a view turns the camera, the lights and the floor, so
that a part is loaded into Embree once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from gantrain.data.bricks.geometry import Solid, shaded_mesh

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

FLOOR = 0.80  # radiance of the unshadowed floor; 1 is white
MARGIN = 1.06  # of the frame about the part at its widest
SUBPIXELS = ((0.125, 0.625), (0.375, 0.125), (0.625, 0.875), (0.875, 0.375))  # a pixel's rays
FLOOR_GRID = 20  # points along each side of the frame at which the floor's light is found
FLOOR_BLUR = 0.6  # in steps of that grid
BAND = 1 << 16  # rays traced at a time, so that memory stays bounded at any size
LIFT = 2e-3  # millimetres off a surface at which a ray to a light starts

WINDOW = (-15.0, 57.0)  # azimuth and elevation of the bright light, degrees
WINDOW_SPREAD = 11.0  # its half angle, degrees: how soft the shadows are
WINDOW_SHARE, SKY_SHARE = 0.85, 0.36  # of the light
GLOW = 0.09  # what the floor throws back to a face that looks straight down


@dataclass(frozen=True)
class Scene:
    """A part ready to be traced.

    tracer: its surface in Embree.
    normals: float32 (m, 3, 3), unit vectors at each triangle's three vertices.
    corners: float64 (k, 3), vertices of its convex hull, millimetres.
    reach: the largest distance between two corners, millimetres.
    """

    tracer: Any
    normals: Floats
    corners: Doubles
    reach: float


@dataclass(frozen=True)
class _Frame:
    """What a camera sees of a turned part: unit vectors and lengths in the part's frame."""

    right: Doubles
    up: Doubles
    forward: Doubles
    zenith: Doubles
    floor: float  # the floor's height along the zenith
    middle: tuple[float, float]  # of the part, along right and up
    extent: tuple[float, float]  # half the part's width and height in the image
    half: float  # half the image's width
    lights: Floats  # (k, 3), towards the lights that shine on the part
    floor_lights: Floats  # and on the floor


def load_scene(solid: Solid) -> Scene:
    """Load a solid (see `geometry`) into Embree."""
    mesh = shaded_mesh(solid)
    tracer = EmbreeScene()
    TriangleMesh(tracer, mesh.vertices, mesh.faces)
    corners = np.asarray(solid.hull().to_mesh().vert_properties, np.float64)[:, :3]
    reach = max(float(np.linalg.norm(corners - corner, axis=1).max()) for corner in corners)
    return Scene(tracer, mesh.normals[mesh.faces], corners, reach)


def direction(azimuth: float, elevation: float) -> Doubles:
    """The unit vector at these angles in degrees; azimuth 0 is -y, 90 is +x."""
    a, e = math.radians(azimuth), math.radians(elevation)
    return np.array([math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)])


def _cone(axis: Doubles, low: float, high: float, count: int) -> Doubles:
    """(count, 3) unit vectors, evenly spread where the cosine to the axis is in (low, high)."""
    index = np.arange(count)
    cosine = high - (high - low) * (index + 0.5) / count
    angle = index * math.pi * (3.0 - math.sqrt(5.0))
    side = np.cross(axis, (0.0, 1.0, 0.0))
    side /= np.linalg.norm(side)
    around = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(axis, side)
    return np.asarray(cosine[:, None] * axis + np.sqrt(1.0 - cosine**2)[:, None] * around)


def _lights(window: int, sky: int) -> tuple[Doubles, Floats]:
    """Directions (k, 3) and weights (k,) of that many lights of each kind.

    A flat open floor receives 1 in all.
    """
    zenith = np.array([0.0, 0.0, 1.0])
    kinds = (
        (WINDOW_SHARE, _cone(direction(*WINDOW), math.cos(math.radians(WINDOW_SPREAD)), 1, window)),
        (SKY_SHARE, _cone(zenith, 0.0, 1.0, sky)),
    )
    directions = np.concatenate([kind for _, kind in kinds])
    weights = np.concatenate([np.full(len(kind), share / len(kind)) for share, kind in kinds])
    received = float(weights @ np.maximum(directions[:, 2], 0.0))
    return directions, (weights / received).astype(np.float32)


_LIGHTS, _WEIGHTS = _lights(8, 8)
_FLOOR_LIGHTS, _FLOOR_WEIGHTS = _lights(8, 16)


def _frame(scene: Scene, turn: Doubles, toward_camera: Doubles) -> _Frame:
    zenith = np.array([0.0, 0.0, 1.0])
    right = np.cross(zenith, toward_camera)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(toward_camera, right), -toward_camera, zenith]) @ turn
    along = scene.corners @ axes.T
    low, high = along.min(axis=0), along.max(axis=0)
    return _Frame(
        right=axes[0],
        up=axes[1],
        forward=axes[2],
        zenith=axes[3],
        floor=float(low[3]),
        middle=(float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2),
        extent=(float(high[0] - low[0]) / 2, float(high[1] - low[1]) / 2),
        half=scene.reach / 2 * MARGIN,
        lights=(_LIGHTS @ turn).astype(np.float32),
        floor_lights=(_FLOOR_LIGHTS @ turn).astype(np.float32),
    )


def trace(
    scene: Scene, turn: Doubles, toward_camera: Doubles, size: int, reflectance: Sequence[float]
) -> NDArray[np.uint8]:
    """An image of the part, uint8 (size, size, len(reflectance)).

    turn: (3, 3) rotation of the part; it then comes down until it touches the floor.
    toward_camera: (3,) unit vector; the camera is far away, so that parallel lines stay parallel.
    reflectance: of the part, 0 to 1, for each channel.
    """
    frame = _frame(scene, turn, toward_camera)
    light, cover = _part_light(scene, frame, size)
    floor = FLOOR * _floor_light(scene, frame, size) * (1.0 - cover)
    channels = [light * share + floor for share in reflectance]
    linear = np.clip(np.stack(channels, axis=-1), 0.0, 1.0)
    return np.asarray(np.rint(255.0 * linear ** (1 / 2.2)), np.uint8)


def _part_light(scene: Scene, frame: _Frame, size: int) -> tuple[Floats, Floats]:
    """Light that leaves the part (before its reflectance), and how much of a pixel it covers.

    Both float32 (size, size). Each ray of a pixel asks its own share of the lights; together they
    ask all of them.
    """
    light = np.zeros((size, size), np.float32)
    cover = np.zeros((size, size), np.float32)
    for share, (x, y) in enumerate(SUBPIXELS):
        across = ((np.arange(size) + x) * (2.0 / size) - 1.0) * frame.half
        upward = (1.0 - (np.arange(size) + y) * (2.0 / size)) * frame.half
        columns = np.flatnonzero(np.abs(across) <= frame.extent[0])
        rows = np.flatnonzero(np.abs(upward) <= frame.extent[1])
        along = (frame.middle[0] + across[columns])[:, None] * frame.right
        start = (along - 2.0 * scene.reach * frame.forward).astype(np.float32)
        height = ((frame.middle[1] + upward[rows])[:, None, None] * frame.up).astype(np.float32)
        band = max(1, BAND // max(1, len(columns)))
        for first in range(0, len(rows), band):
            origins = start + height[first : first + band]
            hit, values = _shade(scene, frame, origins.reshape(-1, 3), share)
            row, column = rows[first + hit // len(columns)], columns[hit % len(columns)]
            light[row, column] += values
            cover[row, column] += np.float32(1.0 / len(SUBPIXELS))
    return light, cover


def _shade(
    scene: Scene, frame: _Frame, origins: Floats, share: int
) -> tuple[NDArray[np.intp], Floats]:
    """Indices (h,) of the rays that hit the part, and the light (h,) that they add to a pixel."""
    toward = frame.forward.astype(np.float32)
    found = scene.tracer.run(origins, np.broadcast_to(toward, origins.shape), output=True)
    hit = np.flatnonzero(found["primID"] >= 0)
    u, v = found["u"][hit, None], found["v"][hit, None]
    corner = scene.normals[found["primID"][hit]]
    normals = corner[:, 0] * (1 - u - v) + corner[:, 1] * u + corner[:, 2] * v
    normals /= np.sqrt(np.einsum("ij,ij->i", normals, normals))[:, None]
    points = origins[hit] + toward * found["tfar"][hit, None] + normals * np.float32(LIFT)
    lights = frame.lights[share :: len(SUBPIXELS)]
    facing = lights @ normals.T * _WEIGHTS[share :: len(SUBPIXELS), None]
    glow = GLOW / len(SUBPIXELS) * (1 - normals @ frame.zenith.astype(np.float32)) / 2
    return hit, _received(scene, points, facing, lights) + glow


def _received(scene: Scene, points: Floats, facing: Floats, lights: Floats) -> Floats:
    """Light (n,) that reaches points (n, 3) from lights (k, 3), the part itself being in the way.

    facing: (k, n) what each light would give if nothing were in the way; at most 0 from behind.
    """
    given = np.maximum(facing, np.float32(0.0))
    light, point = np.nonzero(given)
    blocked = scene.tracer.run(points[point], lights[light], query="OCCLUDED") >= 0
    given[light[blocked], point[blocked]] = 0.0
    return np.asarray(given.sum(axis=0), np.float32)


def _floor_light(scene: Scene, frame: _Frame, size: int) -> Floats:
    """Light on the floor behind each pixel, float32 (size, size), 1 where nothing is in the way.

    It varies slowly, so that a coarse grid is enough at any size.
    """
    steps = ((np.arange(FLOOR_GRID) + 0.5) / FLOOR_GRID * 2.0 - 1.0) * frame.half
    across = (frame.middle[0] + steps)[None, :, None] * frame.right
    seen = (across + (frame.middle[1] - steps)[:, None, None] * frame.up).reshape(-1, 3)
    drop = (frame.floor - seen @ frame.zenith) / (frame.forward @ frame.zenith)
    points = (seen + drop[:, None] * frame.forward + LIFT * frame.zenith).astype(np.float32)
    share = _FLOOR_LIGHTS[:, 2].astype(np.float32) * _FLOOR_WEIGHTS
    facing = np.repeat(share[:, None], len(points), axis=1)
    grid = _received(scene, points, facing, frame.floor_lights).reshape(FLOOR_GRID, FLOOR_GRID)
    pixel = (np.arange(size) + 0.5) / size * FLOOR_GRID
    apart = (pixel[:, None] - np.arange(FLOOR_GRID) - 0.5) / FLOOR_BLUR
    blend = np.exp(-(apart**2) / 2)
    blend /= blend.sum(axis=1, keepdims=True)
    return np.asarray(blend @ grid @ blend.T, np.float32)
