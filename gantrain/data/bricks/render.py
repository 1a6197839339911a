"""Images of LEGO parts for a data set: 50 parts, 400 views of each, two cameras.

Over its views a part turns `TURNS` times about the vertical while it tips over by `TIP` degrees,
standing on the floor all the while: no two views are alike, not even those of a round part. With a
tip of 0 it stands upright and turns once.
Cameras L and R look at each view from two sides and heights. On one kind of processor an image
depends on (part, view, views, camera, seed, tip, size, channels) alone: not on the number of
processes, nor on which other parts are drawn.
"""

import importlib.util
import io
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gantrain.common.errors import UserError
from gantrain.common.pools import map_in_order, usable_cores
from gantrain.data.shards.samples import Sample, Split

if TYPE_CHECKING:
    from gantrain.data.bricks.tracing import Scene

TURNS = 8
TIP = 120.0
CAMERAS = {"L": (-45.0, 25.0), "R": (45.0, 38.0)}  # azimuth and elevation, degrees
VIEW_LIMIT = 10_000  # what the four digits in a key can count

GREY = 0.30  # reflectance of every part in a grey image
COLOURS = (  # and, in turn, of the parts in a coloured one
    (0.55, 0.02, 0.02),  # red
    (0.02, 0.10, 0.40),  # blue
    (0.75, 0.45, 0.02),  # yellow
    (0.02, 0.22, 0.06),  # green
    (0.70, 0.20, 0.02),  # orange
    (0.08, 0.38, 0.58),  # azure
    (0.40, 0.28, 0.14),  # dark tan
    (0.09, 0.10, 0.10),  # dark grey
)

_BLOCKS = 40  # contiguous runs of views, of which every tenth is held out
_HELD_OUT = 4
_CHUNK_PIXELS = 1 << 18  # in the images of one task


@dataclass(frozen=True)
class _Plan:
    """What a set holds."""

    size: int
    channels: int
    parts: tuple[str, ...]
    views: int
    seed: int
    tip: float

    def __len__(self) -> int:
        return len(self.parts) * self.views * len(CAMERAS)


def sample_count(parts: Sequence[str] | None, views: int) -> int:
    """How many samples `render_samples` yields for these parts (None: all) and views."""
    if parts is None:
        _require_packages()
        parts = _all_parts()
    return len(parts) * views * len(CAMERAS)


def render_samples(
    *,
    size: int = 64,
    channels: int = 1,
    parts: Sequence[str] | None = None,
    views: int = 400,
    seed: int = 0,
    tip: float = TIP,
    workers: int | None = None,
) -> Iterator[Sample]:
    """Draw every view of every part with both cameras, in an order that mixes parts and views.

    size: of a side in pixels, a multiple of 16 from 16 to 1024.
    channels: 1 draws every part in one grey, 3 gives each part a colour.
    parts: LDraw numbers, see `parts.PARTS`; None draws all.
    views: how many, spread evenly over the turns; 1 to 10,000.
    seed: of the order, of each part's first angle and of the side to which it tips.
    tip: how far each part tips over in the course of its views, 0 to 180 degrees.
    workers: processes; None takes the cores that there are. More than one start as fresh
        interpreters, so that a script needs its `if __name__ == "__main__":`.

    Yields samples with keys such as `3001-L-0007` and labels with part, name, view, camera, yaw
    and tilt (degrees) and split: a tenth of the views, in contiguous blocks, is for validation,
    since neighbouring views are near-duplicates. Memory stays bounded however long the set is.

    Raises UserError, at once, if an argument is out of range, a part is unknown or a package is
    missing; and while iterating if a process dies.
    """
    _require_packages()
    _check_range("size", size, 16, 1024)
    _check_range("views", views, 1, VIEW_LIMIT)
    if size % 16:
        raise UserError(f"size is {size}; expected a multiple of 16, such as {size // 16 * 16}.")
    if channels not in (1, 3):
        raise UserError(f"channels is {channels}; expected 1 (grey) or 3 (RGB).")
    if not 0 <= tip <= 180:
        raise UserError(f"tip is {tip}; expected 0 (upright) to 180 degrees.")
    plan = _Plan(size, channels, _checked_parts(parts), views, seed, tip)
    workers = usable_cores() if workers is None else workers
    _check_range("workers", workers, 1, 1024)
    return _render(plan, min(workers, -(-len(plan) // _chunk_length(size))))


def _require_packages() -> None:
    missing = [name for name in ("embreex", "manifold3d") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"Rendering needs {' and '.join(missing)}, not installed here. "
            "Install with: pip install 'gantrain[render]'"
        )


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UserError(f"{name} is {value}; expected {low} to {high}.")


def _all_parts() -> tuple[str, ...]:
    from gantrain.data.bricks.parts import PARTS  # needs manifold3d, which is optional

    return tuple(part.number for part in PARTS)


def _checked_parts(parts: Sequence[str] | None) -> tuple[str, ...]:
    from gantrain.data.bricks.parts import find_part

    if parts is None:
        return _all_parts()
    if not parts:
        raise UserError("parts is empty; expected LDraw numbers such as 3001, or none for all.")
    numbers = tuple(find_part(number).number for number in parts)
    for number in numbers:
        if numbers.count(number) > 1:
            raise UserError(f"parts names {number} more than once; name each part once.")
    return numbers


def _chunk_length(size: int) -> int:
    return max(1, _CHUNK_PIXELS // size**2)


def _chunks(plan: _Plan) -> Iterator[list[int]]:
    order = list(range(len(plan)))
    random.Random(plan.seed).shuffle(order)
    length = _chunk_length(plan.size)
    for first in range(0, len(order), length):
        yield order[first : first + length]


def _render(plan: _Plan, workers: int) -> Iterator[Sample]:
    draw = partial(_render_chunk, plan)
    for samples in map_in_order(draw, _chunks(plan), workers=workers, pending_per_worker=3):
        yield from samples


def _render_chunk(plan: _Plan, chunk: Sequence[int]) -> list[Sample]:
    return [_render_one(plan, index) for index in chunk]


def _render_one(plan: _Plan, index: int) -> Sample:
    from gantrain.data.bricks.tracing import direction, trace

    rest, which = divmod(index, len(CAMERAS))
    number, view = plan.parts[rest // plan.views], rest % plan.views
    camera = tuple(CAMERAS)[which]
    name, place, scene = _loaded(number)
    yaw, tilt, turn = _orientation(number, view, plan)
    colour = (GREY,) if plan.channels == 1 else COLOURS[place % len(COLOURS)]
    pixels = trace(scene, turn, direction(*CAMERAS[camera]), plan.size, colour)
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG", compress_level=6)
    return Sample(
        key=f"{number}-{camera}-{view:04d}",
        image=file.getvalue(),
        label={
            "part": number,
            "name": name,
            "view": view,
            "camera": camera,
            "yaw": round(yaw, 3),
            "tilt": round(tilt, 3),
            "split": _split(view, plan.views),
        },
    )


@cache  # about a megabyte for each part
def _loaded(number: str) -> "tuple[str, int, Scene]":
    """A part's name, its place in the catalogue, and its geometry."""
    from gantrain.data.bricks.parts import PARTS, find_part
    from gantrain.data.bricks.tracing import load_scene

    part = find_part(number)
    return part.name, PARTS.index(part), load_scene(part.build())


def _orientation(number: str, view: int, plan: _Plan) -> tuple[float, float, NDArray[np.float64]]:
    """Yaw and tilt in degrees, and the (3, 3) rotation from the part's frame to the floor's."""
    draw = random.Random(f"{plan.seed} {number}")
    start, side = draw.uniform(0.0, 360.0), draw.uniform(0.0, 360.0)
    turns = TURNS if plan.tip else 1  # upright, a second turn would repeat the first
    yaw = (start + 360.0 * turns * view / plan.views) % 360.0
    tilt = plan.tip * (view + 0.5) / plan.views
    return yaw, tilt, _about_z(yaw) @ _about_x(tilt) @ _about_z(side)


def _about_z(degrees: float) -> NDArray[np.float64]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _about_x(degrees: float) -> NDArray[np.float64]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _split(view: int, views: int) -> Split:
    held_out = view * _BLOCKS // views % 10 == _HELD_OUT
    return "validation" if held_out else "train"
