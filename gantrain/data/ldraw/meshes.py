"""Parts of a library in the coordinates of the renderer: millimetres, z up."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError
from gantrain.data.ldraw.library import Library

MM = 0.4  # in an LDraw unit


@dataclass(frozen=True)
class FlatMesh:
    """Triangles with one normal each, which need not be closed, in millimetres, z up.

    corners: float32 (n, 3, 3).
    normals: float32 (n, 3), unit vectors; outward where the library says which side is outside.
    edges: float32 (k, 2, 3), the lines of sharp edges.
    """

    corners: NDArray[np.float32]
    normals: NDArray[np.float32]
    edges: NDArray[np.float32]


@cache
def open_library(root: Path) -> Library:
    """Return the library in a folder; it is opened once in a process."""
    return Library(root)


def part_mesh(library: Library, number: str) -> FlatMesh:
    """Return the surface of a part.

    Raises UserError as `Library.triangles` does, and if the part has no surface.
    """
    triangles = library.triangles(number)
    corners = _upright(triangles.corners)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    solid = lengths > 1e-9  # a triangle without an area has no normal
    if not solid.any():
        raise UserError(f"{library.part(number).path}: the part has no surface.")
    return FlatMesh(
        corners[solid].astype(np.float32),
        (normals[solid] / lengths[solid, None]).astype(np.float32),
        _upright(triangles.edges).astype(np.float32),
    )


def _upright(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn y, which points down, to -z: a rotation, which keeps the winding."""
    return MM * np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)
