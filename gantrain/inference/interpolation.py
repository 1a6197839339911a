"""Paths and grids between latent vectors, and animations of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.files import replacing

Method = Literal["slerp", "lerp"]
_FORMATS = {".gif": "GIF", ".webp": "WEBP"}
_MIN_ANGLE = 1e-4  # radians; a great circle is undefined between (anti)parallel vectors


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Interpolate linearly between two latents.

    a, b: (latent_size,). t: float32 (N,) in [0, 1]. Returns (N, latent_size).

    Halfway between two standard normal latents the result is shorter than the latents that the
    generator was trained on; `slerp` avoids this.
    """
    weight = t[:, None].to(a.dtype)
    return a * (1 - weight) + b * weight


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Interpolate along the great circle between two latents; arguments as for `lerp`.

    The length changes linearly from that of a to that of b. Falls back to `lerp` where there is no
    unique great circle. In many dimensions, standard normal latents lie close to a sphere (White
    2016, "Sampling generative networks").
    """
    length_a, length_b = a.norm(), b.norm()
    if length_a == 0 or length_b == 0:
        return lerp(a, b, t)
    unit_a, unit_b = a / length_a, b / length_b
    angle = torch.arccos((unit_a @ unit_b).clamp(-1, 1))
    if angle < _MIN_ANGLE or torch.pi - angle < _MIN_ANGLE:
        return lerp(a, b, t)
    weight = t[:, None].to(a.dtype)
    on_circle = (
        torch.sin((1 - weight) * angle) * unit_a + torch.sin(weight * angle) * unit_b
    ) / torch.sin(angle)
    result: Tensor = on_circle * (length_a * (1 - weight) + length_b * weight)
    return result


def interpolate(anchors: Tensor, steps: int, method: Method, *, closed: bool = False) -> Tensor:
    """Return a path of latents (N, latent_size) through anchors (M, latent_size).

    steps: number of latents per segment, including its first anchor but not its second.
    closed: end with a segment back to the first anchor, which is not repeated. An open path ends
    with the last anchor.
    """
    between = slerp if method == "slerp" else lerp
    t = torch.arange(steps, dtype=torch.float32) / steps
    following = torch.roll(anchors, -1, 0)
    count = len(anchors) if closed else len(anchors) - 1
    segments = [between(anchors[i], following[i], t) for i in range(count)]
    return torch.cat(segments if closed else [*segments, anchors[-1:]])


def interpolate_grid(corners: Tensor, rows: int, columns: int, method: Method) -> Tensor:
    """Return latents (rows * columns, latent_size) of the grid between four corners, row by row.

    corners: (4, latent_size), in the order top left, top right, bottom left, bottom right.
    """
    between = slerp if method == "slerp" else lerp
    vertical, horizontal = torch.linspace(0, 1, rows), torch.linspace(0, 1, columns)
    left = between(corners[0], corners[2], vertical)
    right = between(corners[1], corners[3], vertical)
    return torch.cat([between(a, b, horizontal) for a, b in zip(left, right, strict=True)])


def save_animation(frames: Sequence[Image.Image], path: Path, milliseconds: int) -> None:
    """Write frames atomically as an endlessly looping GIF or WebP, depending on the suffix.

    milliseconds: duration of each frame. Raises UserError for another suffix, or if the file
    cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise UserError(f"{path}: expected a name ending in .gif or .webp for an animation.")
    options = {"lossless": True} if suffix == ".webp" else {"optimize": False}
    first, *rest = frames
    try:
        with replacing(path) as temporary:
            first.save(
                temporary,
                format=_FORMATS[suffix],
                save_all=True,
                append_images=rest,
                duration=milliseconds,
                loop=0,
                **options,
            )
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error}).") from None
