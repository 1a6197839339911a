"""The sets of images of the hunt, each made once: bricks, Fashion-MNIST, coloured shapes, and two
that nothing can be learnt from; and the sets of its second draw, which have other images."""

import io
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from experiments.fashion import PACKAGE, check_fashion, import_fashion
from experiments.remedies.plan import OTHER_PARTS, TUNING_PARTS
from experiments.remedies.train import render_shards
from gantrain.common.locks import file_lock
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards

_IMAGES = 4000
_PARTS = {"bricks": OTHER_PARTS, "bricks2": TUNING_PARTS}
# The 10,000 test images, which are enough for runs that see no more than 83,000; or the others.
_FASHION = {"fashion": "t10k*", "fashion2": "train*"}


@dataclass(frozen=True)
class _Look:
    """The outlines of the two kinds of shapes (see PIL's ImageDraw), their colours, and the rest.

    The first colour is that of a constant image.
    """

    kinds: tuple[str, str]
    colours: tuple[str, ...]
    background: str
    seed: int


_FIRST = _Look(("disc", "square"), ("crimson", "seagreen", "royalblue", "goldenrod"), "white", 0)
_SECOND = _Look(("ring", "triangle"), ("orange", "orchid", "turquoise"), "black", 1)


def open_set(name: str, out: Path) -> tuple[Path, int]:
    """Return the folder and the channels of a set, which is made if it is missing.

    Raises UserError if the images of Fashion-MNIST are not installed.
    """
    if name in _PARTS:
        return render_shards(out, _PARTS[name]), 1
    folder = out / name
    with file_lock(out / f"{name}.lock", wait=True):
        if not (folder / "manifest.json").exists():
            if name in _FASHION:
                _import_some_fashion(folder, _FASHION[name])
            else:
                _write(folder, name)
    return folder, 1 if name in _FASHION else 3


def _import_some_fashion(folder: Path, files: str) -> None:
    check_fashion(PACKAGE)
    with tempfile.TemporaryDirectory() as scratch:
        for file in PACKAGE.glob(files):
            shutil.copy(file, scratch)
        import_fashion(folder, Path(scratch))


def _write(folder: Path, name: str) -> None:
    write_shards(folder, _shapes(name), size=32, channels=3, source=name)


def _shapes(name: str) -> Iterator[Sample]:
    """Yield two kinds of shapes in some colours; always the same one, or 256 times darker."""
    look = _SECOND if name.endswith("2") else _FIRST
    constant = name.startswith("constant")
    rng = np.random.default_rng(look.seed)
    for i in range(_IMAGES):
        image = Image.new("RGB", (32, 32), look.background)
        place = tuple(int(n) for n in rng.integers((2, 2, 8), (14, 14, 16)))
        kind = look.kinds[i // len(look.colours) % 2]
        colour = look.colours[i % len(look.colours)]
        if constant:
            _draw(image, look.kinds[1], look.colours[0], (8, 8, 12))
        else:
            _draw(image, kind, colour, place)
        if name.startswith("dark"):  # pixels from 0 to 1, written as if they were from 0 to 255
            image = Image.fromarray(np.asarray(image) // 255)
        file = io.BytesIO()
        image.save(file, "PNG")
        part = f"{kind}-{colour}"
        yield Sample(f"shape-{i:05d}", file.getvalue(), {"part": part, "name": part})


def _draw(image: Image.Image, kind: str, colour: str, place: tuple[int, ...]) -> None:
    """Draw a shape. place: left, top and side of its box."""
    x, y, side = place
    box = [x, y, x + side, y + side]
    draw = ImageDraw.Draw(image)
    match kind:
        case "square":
            draw.rectangle(box, fill=colour)
        case "disc":
            draw.ellipse(box, fill=colour)
        case "ring":
            draw.ellipse(box, outline=colour, width=3)
        case _:
            draw.polygon([(x, y + side), (x + side, y + side), (x + side // 2, y)], fill=colour)
