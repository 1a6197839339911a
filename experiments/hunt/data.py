"""The sets of images of the hunt, each made once: bricks, Fashion-MNIST, coloured shapes, and two
that nothing can be learnt from."""

import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from experiments.fashion import PACKAGE, check_fashion, import_fashion
from experiments.remedies.plan import OTHER_PARTS
from experiments.remedies.train import render_shards
from gantrain.common.locks import file_lock
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards

_IMAGES = 4000
_COLOURS = ("crimson", "seagreen", "royalblue", "goldenrod")


def open_set(name: str, out: Path) -> tuple[Path, int]:
    """Return the folder and the channels of a set, which is made if it is missing.

    Raises UserError if the images of Fashion-MNIST are not installed.
    """
    if name == "bricks":
        return render_shards(out, OTHER_PARTS), 1
    folder = out / name
    with file_lock(out / f"{name}.lock", wait=True):
        if not (folder / "manifest.json").exists():
            if name == "fashion":
                _import_some_fashion(folder)
            else:
                _write(folder, name)
    return folder, 1 if name == "fashion" else 3


def _import_some_fashion(folder: Path) -> None:
    """Import the 10,000 test images: enough for runs that see no more than 83,000."""
    check_fashion(PACKAGE)
    with tempfile.TemporaryDirectory() as scratch:
        for file in PACKAGE.glob("t10k*"):
            shutil.copy(file, scratch)
        import_fashion(folder, Path(scratch))


def _write(folder: Path, name: str) -> None:
    write_shards(folder, _shapes(name), size=32, channels=3, source=name)


def _shapes(name: str) -> Iterator[Sample]:
    """Yield discs and squares in four colours, eight classes; the same one, or 256 times darker."""
    rng = np.random.default_rng(0)
    for i in range(_IMAGES):
        image = Image.new("RGB", (32, 32), "white")
        x, y, side = (int(n) for n in rng.integers((2, 2, 8), (14, 14, 16)))
        if name == "constant":
            x, y, side = 8, 8, 12
        square, colour = i // len(_COLOURS) % 2, _COLOURS[i % len(_COLOURS)]
        draw = ImageDraw.Draw(image)
        box = [x, y, x + side, y + side]
        shade = "crimson" if name == "constant" else colour
        if square or name == "constant":
            draw.rectangle(box, fill=shade)
        else:
            draw.ellipse(box, fill=shade)
        if name == "dark":  # pixels from 0 to 1, written as if they were from 0 to 255
            image = Image.fromarray(np.asarray(image) // 255)
        file = io.BytesIO()
        image.save(file, "PNG")
        part = f"{'square' if square else 'disc'}-{colour}"
        yield Sample(f"shape-{i:05d}", file.getvalue(), {"part": part, "name": part})
