"""Lines along the sharp edges of a part, as far as they are visible."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_SAMPLES = 3  # per pixel of length
_OFFSET = 0.05  # millimetres from the edge towards the camera, so that its own faces hide no edge
_LINES_AT_ONCE = 4096  # to bound memory
_MAX_SAMPLES = 4096  # of a line


def line_cover(
    tracer: Any,
    lines: Floats,
    axes: tuple[Doubles, Doubles, Doubles],
    centre: tuple[float, float],
    half_width: float,
    size: int,
) -> Floats:
    """Return how far visible lines, about a pixel wide, cover each pixel: (size, size), 0 to 1.

    tracer: the part in Embree.
    lines: (k, 2, 3), end points in the part's coordinates, millimetres.
    axes: right, up and forward of the image.
    centre, half_width: of the image along right and up, millimetres.
    """
    cover = np.zeros(size * size, np.float32)
    right, up, forward = axes
    scale = size / (2.0 * half_width)
    for first in range(0, len(lines), _LINES_AT_ONCE):
        start, end = lines[first : first + _LINES_AT_ONCE].transpose(1, 0, 2)
        along = end - start
        length = np.hypot(along @ right, along @ up) * scale
        count = np.clip(np.ceil(length * _SAMPLES), 1, _MAX_SAMPLES).astype(np.intp)
        line = np.repeat(np.arange(len(count)), count)
        step = np.arange(len(line)) - np.repeat(np.cumsum(count) - count, count)
        points = start[line] + along[line] * ((step + 0.5) / count[line])[:, None]
        column = np.floor((points @ right - centre[0] + half_width) * scale).astype(np.intp)
        row = np.floor((half_width - points @ up + centre[1]) * scale).astype(np.intp)
        origins = (points - _OFFSET * forward).astype(np.float32)
        towards = np.broadcast_to(-forward.astype(np.float32), origins.shape)
        visible = tracer.run(origins, towards, query="OCCLUDED") < 0
        visible &= (column >= 0) & (column < size) & (row >= 0) & (row < size)
        weight = (length / count)[line][visible]
        cover += np.bincount(
            (row * size + column)[visible], weights=weight, minlength=size * size
        ).astype(np.float32)
    return np.minimum(cover, np.float32(1.0)).reshape(size, size)
