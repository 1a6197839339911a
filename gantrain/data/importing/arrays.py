"""Images and labels in NumPy's arrays: Keras's `x_train, y_train`, MedMNIST's `train_images`, …

Names say what an array is: words such as x, images and arr_0 stand for images; y, labels, targets
and arr_1 for labels; train, val and test for splits. The other words of the name have to be the
same for images and their labels.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError
from gantrain.data.importing.archives import MAGIC as ZIP_MAGIC
from gantrain.data.importing.npy import MAGIC, NamedArray, read_arrays
from gantrain.data.importing.rows import Rows, check_count, open_rows
from gantrain.data.importing.sources import Source, SourceOptions
from gantrain.data.importing.splits import customary_split

_IMAGE_WORDS = {"x", "image", "images", "img", "imgs", "data", "samples", "pixels", "inputs"}
_LABEL_WORDS = {"y", "label", "labels", "target", "targets", "class", "classes"}
_CHANNELS = (1, 3, 4)
_FLAT = 784  # values of a row: an image of MNIST or Quick, Draw!
_FLAT_SIDE = 28
_MAX_NAMES = 6  # in a message
_SAMPLED = 256  # images whose range of values is looked at for an error message


def has_name(name: str) -> bool:
    """Return whether a file's name ends in `.npy` or `.npz`."""
    return name.lower().endswith((".npy", ".npz"))


def has_head(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is a `.npy` or `.npz` file."""
    if head.startswith(MAGIC):
        return True
    name_length = int.from_bytes(head[26:28], "little")
    return head.startswith(ZIP_MAGIC) and head[30 : 30 + name_length].endswith(b".npy")


@dataclass(frozen=True)
class _Role:
    """What the name of an array says: its role, its split ("" for none), and its other words."""

    role: Literal["images", "labels", ""]
    split: str
    others: str

    def group(self) -> tuple[str, str]:
        """Return what images and their labels have in common."""
        return self.split, self.others


def open_arrays(path: Path, files: Sequence[Path], options: SourceOptions) -> Source:
    """Open the arrays of images in `.npy` and `.npz` files, with the arrays of their labels.

    Images are uint8 of shape (N, H, W), (N, H, W, C), (N, C, H, W) or (N, 784), with 1, 3 or 4
    channels: grey, RGB, RGB and alpha. Where both the second and the last dimension could be the
    channels, the last one is. Labels are integers or text of shape (N,) or (N, 1).

    Raises UserError if there is no such array, an array of images has another type or shape, or
    the number of labels is not that of the images.
    """
    if list(files) == [path] and path.suffix.lower() == ".npy":
        files = _with_labels(path)
    arrays = [(array, _role(array)) for file in files for array in read_arrays(file)]
    images = _choose_images(path, arrays)
    labels = {
        role.group(): array
        for array, role in arrays
        if role.role == "labels" and role.group() in images and options.read_labels
    }
    several = len({others for _, others in images}) > 1
    parts: list[Rows] = []
    layouts: dict[str, str] = {}
    for (split, others), array in images.items():
        pixels, layouts[array.name] = _as_rows(array)
        stated = labels.get((split, others))
        folder = "/".join(filter(None, (split, others if several else "")))
        parts.append(Rows(folder, pixels, None if stated is None else _read_labels(stated, array)))
    shown = ", ".join(f"{name}: {layout}" for name, layout in islice(layouts.items(), _MAX_NAMES))
    kind = f"NumPy arrays ({shown}{', …' if len(layouts) > _MAX_NAMES else ''})"
    source = open_rows(path, kind, parts, ", ".join(array.name for array in labels.values()))
    used = {id(array) for array in (*images.values(), *labels.values())}
    unused = [array.describe() for array, _ in arrays if id(array) not in used]
    if unused:
        source.notes.append(f"Ignored arrays: {', '.join(unused[:_MAX_NAMES])}.")
    return source


def _choose_images(
    path: Path, arrays: Sequence[tuple[NamedArray, _Role]]
) -> dict[tuple[str, str], NamedArray]:
    """Return the arrays of images by split and other words of their names.

    If the names of some say that they are images, only these are.
    """
    named = [(array, role) for array, role in arrays if role.role == "images"]
    others = [(array, role) for array, role in arrays if not role.role]
    images: dict[tuple[str, str], NamedArray] = {}
    for array, role in named or others:
        if not _is_images(array, named=bool(named)):
            continue
        other = images.setdefault(role.group(), array)
        if other is not array:
            raise UserError(
                f"{array.file}: contains several arrays of images, {other.describe()} and "
                f"{array.describe()}; expected one for each split, such as x_train and x_test."
            )
    if not images:
        found = "; ".join(array.describe() for array, _ in arrays) or "none"
        raise UserError(
            f"{path}: contains no array of images; expected uint8 of shape (N, H, W), "
            f"(N, H, W, C) or (N, C, H, W). Its arrays: {found[:500]}."
        )
    return images


def _with_labels(file: Path) -> list[Path]:
    """Return a `.npy` file of images, and the one of its labels if it is beside it."""
    own = _words(file.stem, "")
    beside = sorted(each for each in file.parent.glob("*.npy") if each != file and each.is_file())
    for other in beside:
        role = _words(other.stem, "")
        if role.role == "labels" and (role.split, role.others) == (own.split, own.others):
            return [file, other]
    return [file]


def _role(array: NamedArray) -> _Role:
    around = "" if array.file.suffix.lower() == ".npy" else array.file.stem
    return _words(array.name, around)


def _words(name: str, around: str) -> _Role:
    """Return the role of an array.

    around: the stem of the file that contains arrays of several names.
    """
    role: Literal["images", "labels", ""] = ""
    split = ""
    others = []
    if name in ("arr_0", "arr_1"):
        role = "images" if name == "arr_0" else "labels"
        name = ""
    for word in filter(None, re.split(r"[\W_]+", name.casefold())):
        if not split and word[:1] in "xy" and customary_split(word[1:]) is not None:
            role, split = "images" if word[0] == "x" else "labels", word[1:]
        elif not role and word in _IMAGE_WORDS:
            role = "images"
        elif not role and word in _LABEL_WORDS:
            role = "labels"
        elif not split and customary_split(word) is not None:
            split = word
        else:
            others.append(word)
    for word in filter(None, re.split(r"[\W_]+", around.casefold())):
        if not split and customary_split(word) is not None:
            split = word
        else:
            others.append(word)
    return _Role(role, split, "-".join(others))


def _is_images(array: NamedArray, *, named: bool) -> bool:
    """Return whether an array is to be taken for images, right or wrong ones."""
    shape, dtype = array.values.shape, array.values.dtype
    if dtype.kind not in "biuf":
        return False
    return len(shape) in (3, 4) or (len(shape) == 2 and (named or shape[1] == _FLAT))


def _as_rows(array: NamedArray) -> tuple[NDArray[np.uint8], str]:
    """Return images as (N, H, W) or (N, H, W, C), and how they are stored.

    Raises UserError if they have another type or shape.
    """
    where = f"{array.file}: {array.describe()}"
    values = array.values
    if values.dtype != np.uint8:
        raise UserError(f"{where}: expected uint8 from 0 to 255. {_advise(array)}")
    if 0 in values.shape:
        raise UserError(f"{where}: contains no pixels.")
    if values.ndim == 2 and values.shape[1] == _FLAT:
        return values.reshape(-1, _FLAT_SIDE, _FLAT_SIDE), f"rows of {_FLAT} are 28x28 grey images"
    if values.ndim == 2:
        raise UserError(f"{where}: rows of {values.shape[1]} values; reshape them to (N, H, W).")
    if values.ndim == 3 and values.shape[2] in _CHANNELS:
        raise UserError(f"{where}: the shape of one image; expected (N, H, W, C), with N images.")
    if values.ndim == 3:
        return values, "(N, H, W), grey"
    if values.shape[3] in _CHANNELS:
        return values, f"(N, H, W, C) with {values.shape[3]} channels"
    if values.shape[1] in _CHANNELS:
        layout = f"(N, C, H, W) with {values.shape[1]} channels"
        return values.transpose(0, 2, 3, 1), layout
    raise UserError(
        f"{where}: expected 1, 3 or 4 channels, in the last dimension or in the second."
    )


def _advise(array: NamedArray) -> str:
    """Return how to convert images of another type."""
    some = np.asarray(array.values[:_SAMPLED])
    name = array.name
    if some.dtype.kind == "b":
        return f"Convert it: {name}.astype(np.uint8) * 255."
    if not some.size or not np.isfinite(some).all():
        return "Its values are not all finite." if some.size else "It is empty."
    low, high = float(some.min()), float(some.max())
    shown = f"The first images are from {low:.4g} to {high:.4g}"
    if low >= 0 and high <= 1 and some.dtype.kind == "f":
        return f"{shown}; if the range is 0 to 1: ({name} * 255).round().astype(np.uint8)."
    if low >= -1 and high <= 1 and some.dtype.kind == "f":
        return (
            f"{shown}; if the range is -1 to 1: ({name} * 127.5 + 127.5).round().astype(np.uint8)."
        )
    if low >= 0 and high <= 255:
        return f"{shown}; if the range is 0 to 255: {name}.round().astype(np.uint8)."
    return f"{shown}; scale the values to 0 to 255 and convert them with .astype(np.uint8)."


def _read_labels(labels: NamedArray, images: NamedArray) -> list[str | None]:
    values: NDArray[Any] = labels.values
    where = f"{labels.file}: {labels.describe()}"
    if values.dtype.kind not in "iuUS" or not (
        values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)
    ):
        raise UserError(
            f"{where}: expected labels: integers or text of shape (N,) or (N, 1); of one-hot rows "
            f"take {labels.name}.argmax(axis=1). Without labels: --classes none."
        )
    check_count(values, len(images.values), where, images.name)
    return [
        each.decode("utf-8", "backslashreplace") if isinstance(each, bytes) else str(each)
        for each in values.reshape(-1).tolist()
    ]
