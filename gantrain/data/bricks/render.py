"""Rendered data set of LEGO parts: 400 views of each, two cameras.

Over its views, a part rotates `TURNS` times around the vertical axis while it tips over by `TIP`
degrees, always resting on the floor. With a tip of 0 it stays upright and rotates once. Cameras L
and R look at each view from different sides and heights, and move a little from image to image:
otherwise images of an upright part would repeat, because a brick looks the same after half a turn
and a cone after any.

On one CPU type, an image depends only on (part, view, views, camera, seed, tip, size, channels,
library, colours, background, edges): not on the number of processes, nor on which other parts are
rendered.
"""

import importlib.util
import io
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gantrain.common.errors import UserError
from gantrain.common.extras import missing_packages
from gantrain.common.pools import map_in_order, usable_cores
from gantrain.data.ldraw.colours import Colour
from gantrain.data.shards.samples import Label, Sample, Split

if TYPE_CHECKING:  # they need manifold3d and embreex, which are optional
    from gantrain.data.bricks.choosing import ChosenPart, PartSet

TURNS = 8
TIP = 120.0
CAMERAS = {"L": (-45.0, 25.0), "R": (45.0, 38.0)}  # azimuth and elevation, degrees
SWAY = (15.0, 5.0)  # degrees by which azimuth and elevation differ from the camera's at most
MAX_VIEWS = 10_000  # a key has four digits for the view

GREY = 0.30  # reflectance of every part in a grey image
COLOURS = (  # reflectance of the parts in RGB images, repeating
    (0.55, 0.02, 0.02),  # red
    (0.02, 0.10, 0.40),  # blue
    (0.75, 0.45, 0.02),  # yellow
    (0.02, 0.22, 0.06),  # green
    (0.70, 0.20, 0.02),  # orange
    (0.08, 0.38, 0.58),  # azure
    (0.40, 0.28, 0.14),  # dark tan
    (0.09, 0.10, 0.10),  # dark grey
)

WHITE = (255, 255, 255)
LUMINANCE = (0.2126, 0.7152, 0.0722)  # Rec. 709

_IMAGES_PER_HELD_OUT = 10
_PIXELS_PER_TASK = 1 << 18


@dataclass(frozen=True)
class _Plan:
    """The parameters of a set."""

    size: int
    channels: int
    parts: "tuple[ChosenPart, ...]"
    views: int
    seed: int
    tip: float
    library: Path | None
    colours: tuple[Colour, ...]
    background: tuple[int, int, int]
    edges: bool

    def __len__(self) -> int:
        return len(self.parts) * self.views * len(CAMERAS)


def sample_count(parts: Sequence[str] | None, views: int, part_set: "PartSet" = "own") -> int:
    """Return the number of samples that `render_samples` yields for these parts (None: all)."""
    _require_packages()
    from gantrain.data.bricks.choosing import part_count

    return part_count(parts, part_set) * views * len(CAMERAS)


def render_samples(
    *,
    size: int = 64,
    channels: int = 1,
    parts: Sequence[str] | None = None,
    views: int = 400,
    seed: int = 0,
    tip: float = TIP,
    workers: int | None = None,
    part_set: "PartSet" = "own",
    library: Path | None = None,
    colours: Sequence[Colour] = (),
    background: tuple[int, int, int] = WHITE,
    edges: bool = False,
) -> Iterator[Sample]:
    """Render every view of every part with both cameras, in shuffled order.

    size: width and height in pixels, a multiple of 8 from 16 to 1024.
    channels: 1 renders every part in the same grey, 3 gives each part a colour.
    parts: LDraw numbers, see `parts.PARTS`; None renders all of `part_set`.
    views: number of views of each part, evenly spaced over the turns; 1 to 10,000.
    seed: for the order, each part's first angle, the direction in which it tips, the cameras'
        positions and the choice of the validation images.
    tip: angle by which each part tips over in the course of its views, 0 to 180 degrees.
    workers: number of processes; None uses all available cores. With more than one, a script needs
        an `if __name__ == "__main__":` guard, because workers import it.
    part_set: "own", the fifty parts; or "kaggle", the known classes of that set.
    library: folder with an LDraw library to take the parts from; None for gantrain's own solids.
    colours: each image's is one of these at random, if there are any; needs three channels.
    background: colour of the floor, sRGB.
    edges: whether to draw the sharp edges of the library's parts as lines.

    Yields samples with keys such as `3001-L-0007` and labels with part, name, view, camera, yaw,
    tilt, azimuth and elevation (degrees) and split, and the name of the color if there are colours.
    A tenth of each part's images, chosen at random, is for validation. Memory use hardly depends on
    the set's size.

    Raises UserError immediately if an argument is out of range, a part is unknown or a package is
    missing; and while iterating if a worker process dies or a file of the library is at fault.
    """
    _require_packages()
    _check_range("size", size, 16, 1024)
    _check_range("views", views, 1, MAX_VIEWS)
    if size % 8:
        raise UserError(f"size is {size}; expected a multiple of 8, such as {size // 8 * 8}.")
    if channels not in (1, 3):
        raise UserError(f"channels is {channels}; expected 1 (grey) or 3 (RGB).")
    if not 0 <= tip <= 180:
        raise UserError(f"tip is {tip}; expected 0 (upright) to 180 degrees.")
    if colours and channels != 3:
        raise UserError("Colours need --channels 3.")
    if edges and library is None:
        raise UserError("Edges are drawn on parts of an LDraw library only; give --ldraw.")
    from gantrain.data.bricks.choosing import choose_parts

    chosen = choose_parts(parts, part_set, library)
    plan = _Plan(
        size, channels, chosen, views, seed, tip, library, tuple(colours), background, edges
    )
    workers = usable_cores() if workers is None else workers
    _check_range("workers", workers, 1, 1024)
    return _render(plan, min(workers, -(-len(plan) // _chunk_length(size))))


def _require_packages() -> None:
    missing = [name for name in ("embreex", "manifold3d") if importlib.util.find_spec(name) is None]
    if missing:
        raise missing_packages("Renders", *missing)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UserError(f"{name} is {value}; expected {low} to {high}.")


def _chunk_length(size: int) -> int:
    return max(1, _PIXELS_PER_TASK // size**2)


def _chunks(plan: _Plan) -> Iterator[list[int]]:
    order = list(range(len(plan)))
    random.Random(plan.seed).shuffle(order)
    length = _chunk_length(plan.size)
    for first in range(0, len(order), length):
        yield order[first : first + length]


def _render(plan: _Plan, workers: int) -> Iterator[Sample]:
    task = partial(_render_chunk, plan)
    for samples in map_in_order(task, _chunks(plan), workers=workers, pending_per_worker=3):
        yield from samples


def _render_chunk(plan: _Plan, chunk: Sequence[int]) -> list[Sample]:
    return [_render_one(plan, index) for index in chunk]


def _render_one(plan: _Plan, index: int) -> Sample:
    from gantrain.data.bricks.choosing import load_part
    from gantrain.data.bricks.tracing import direction, trace

    part_index, image_index = divmod(index, plan.views * len(CAMERAS))
    part = plan.parts[part_index]
    view, camera_index = divmod(image_index, len(CAMERAS))
    camera = tuple(CAMERAS)[camera_index]
    yaw, tilt, rotation = _orientation(part.key, view, plan)
    azimuth, elevation = _camera_position(part.key, view, camera, plan.seed)
    colour = _colour(part.key, view, camera, plan)
    floor = _reflectance(plan.background)
    pixels = trace(
        load_part(part.number, plan.library),
        rotation,
        direction(azimuth, elevation),
        plan.size,
        _part_reflectance(part, colour, plan.channels),
        floor_reflectance=floor if plan.channels == 3 else (float(np.dot(LUMINANCE, floor)),),
        edges=plan.edges,
    )
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG", compress_level=6)
    label: Label = {
        "part": part.key,
        "name": part.name,
        "view": view,
        "camera": camera,
        "yaw": round(yaw, 3),
        "tilt": round(tilt, 3),
        "azimuth": round(azimuth, 3),
        "elevation": round(elevation, 3),
        "split": _split(part.key, image_index, plan),
    }
    if colour is not None:
        label["color"] = colour.name
    return Sample(f"{part.key}-{camera}-{view:04d}", file.getvalue(), label)


def _colour(key: str, view: int, camera: str, plan: _Plan) -> Colour | None:
    if not plan.colours:
        return None
    return random.Random(f"{plan.seed} {key} {view} {camera} colour").choice(plan.colours)


def _part_reflectance(
    part: "ChosenPart", colour: Colour | None, channels: int
) -> tuple[float, ...]:
    if colour is not None:
        return _reflectance(colour.rgb)
    return (GREY,) if channels == 1 else COLOURS[part.hue % len(COLOURS)]


def _reflectance(rgb: tuple[int, int, int]) -> tuple[float, ...]:
    """Return linear reflectances, 0 to 1, of a colour in sRGB."""
    return tuple((value / 255) ** 2.2 for value in rgb)


def _orientation(number: str, view: int, plan: _Plan) -> tuple[float, float, NDArray[np.float64]]:
    """Return yaw and tilt in degrees, and the (3, 3) rotation from part to floor coordinates."""
    rng = random.Random(f"{plan.seed} {number}")
    start, side = rng.uniform(0.0, 360.0), rng.uniform(0.0, 360.0)
    turns = TURNS if plan.tip else 1  # without tipping, a second turn would repeat the first
    yaw = (start + 360.0 * turns * view / plan.views) % 360.0
    tilt = plan.tip * (view + 0.5) / plan.views
    return yaw, tilt, _rotation_z(yaw) @ _rotation_x(tilt) @ _rotation_z(side)


def _rotation_z(degrees: float) -> NDArray[np.float64]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _rotation_x(degrees: float) -> NDArray[np.float64]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _camera_position(number: str, view: int, camera: str, seed: int) -> tuple[float, float]:
    """Return azimuth and elevation in degrees."""
    rng = random.Random(f"{seed} {number} {view} {camera}")
    azimuth, elevation = CAMERAS[camera]
    return azimuth + rng.uniform(-SWAY[0], SWAY[0]), elevation + rng.uniform(-SWAY[1], SWAY[1])


def _split(number: str, image_index: int, plan: _Plan) -> Split:
    images = plan.views * len(CAMERAS)
    return "validation" if image_index in _held_out(number, images, plan.seed) else "train"


@cache
def _held_out(number: str, images: int, seed: int) -> frozenset[int]:
    chosen = random.Random(f"{seed} {number} validation")
    return frozenset(chosen.sample(range(images), images // _IMAGES_PER_HELD_OUT))
