"""Ways between latent vectors, and moving images of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.files import replacing

Way = Literal["slerp", "lerp"]
ANIMATED = (".gif", ".webp")
_PARALLEL = 1e-4  # radians below which a great circle is a straight line


def lerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Straight line from a to b, each (latent_size,), at shares (N,) in [0, 1]: (N, latent_size).

    Halfway, standard normal latents come out shorter than those the generator was trained on.
    """
    t = share[:, None].to(a.dtype)
    return a * (1 - t) + b * t


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Great circle from a to b, as `lerp`; the length goes evenly from one's to the other's.

    White 2016, "Sampling generative networks": latents in many dimensions lie near a sphere.
    """
    length_a, length_b = a.norm(), b.norm()
    if length_a == 0 or length_b == 0:
        return lerp(a, b, share)
    unit_a, unit_b = a / length_a, b / length_b
    angle = torch.arccos((unit_a @ unit_b).clamp(-1, 1))
    if angle < _PARALLEL or torch.pi - angle < _PARALLEL:
        return lerp(a, b, share)
    t = share[:, None].to(a.dtype)
    on_circle = (torch.sin((1 - t) * angle) * unit_a + torch.sin(t * angle) * unit_b) / torch.sin(
        angle
    )
    result: Tensor = on_circle * (length_a * (1 - t) + length_b * t)
    return result


def between(anchors: Tensor, steps: int, way: Way, *, closed: bool = False) -> Tensor:
    """Latents along the way through all anchors (M, latent_size), both ends included.

    steps: latents from one anchor to the next, the first counted and the second not.
    closed: back to the first anchor, which is not repeated at the end.
    """
    step = slerp if way == "slerp" else lerp
    share = torch.arange(steps, dtype=torch.float32) / steps
    following = torch.roll(anchors, -1, 0)
    legs = len(anchors) if closed else len(anchors) - 1
    parts = [step(anchors[i], following[i], share) for i in range(legs)]
    return torch.cat(parts if closed else [*parts, anchors[-1:]])


def plane(corners: Tensor, rows: int, columns: int, way: Way) -> Tensor:
    """Latents (rows * columns, latent_size) that fill the square between four corners, row by row.

    corners: (4, latent_size), top left, top right, bottom left, bottom right.
    """
    step = slerp if way == "slerp" else lerp
    down, across = torch.linspace(0, 1, rows), torch.linspace(0, 1, columns)
    left, right = step(corners[0], corners[2], down), step(corners[1], corners[3], down)
    return torch.cat([step(a, b, across) for a, b in zip(left, right, strict=True)])


def save_animation(frames: Sequence[Image.Image], path: Path, milliseconds: int) -> None:
    """Write frames as an endless GIF or WebP, by the suffix of `path`, whole or not at all.

    Raises UserError for another suffix, or if the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in ANIMATED:
        raise UserError(f"{path}: expected a name that ends in .gif or .webp for a moving image.")
    options = {"lossless": True} if kind == ".webp" else {"optimize": False}
    first, *rest = frames
    try:
        with replacing(path) as temporary:
            first.save(
                temporary,
                format=kind[1:].upper(),
                save_all=True,
                append_images=rest,
                duration=milliseconds,
                loop=0,
                **options,
            )
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error}).") from None
