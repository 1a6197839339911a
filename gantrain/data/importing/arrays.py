"""Images and labels in NumPy's arrays: Keras's `x_train, y_train`, MedMNIST's `train_images`, …"""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError
from gantrain.data.importing.archives import MAGIC as ZIP_MAGIC
from gantrain.data.importing.array_names import Role, parse_name, role_of
from gantrain.data.importing.npy import MAGIC, NamedArray, read_arrays
from gantrain.data.importing.rows import Rows, check_count, open_rows
from gantrain.data.importing.sources import Source, SourceOptions

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


def open_arrays(path: Path, files: Sequence[Path], options: SourceOptions) -> Source:
    """Open the arrays of images in `.npy` and `.npz` files, with the arrays of their labels.

    Images are uint8 of shape (N, H, W), (N, H, W, C), (N, C, H, W) or (N, 784), with 1, 3 or 4
    channels: grey, RGB, RGB and alpha. Where both the second and the last dimension could be the
    channels, the last one is. Labels are integers or text of shape (N,) or (N, 1).

    Raises UserError if there is no such array, an array of images has another type or shape, or
    the number of labels is not that of the images.
    """
    if list(files) == [path] and path.suffix.lower() == ".npy":
        files = _with_labels(path, options)
    arrays = [(array, role_of(array, options)) for file in files for array in read_arrays(file)]
    _check_named(path, arrays, options)
    images = _choose_images(path, arrays)
    labels = _find_labels(images, arrays) if options.read_labels else {}
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


def _check_named(
    path: Path, arrays: Sequence[tuple[NamedArray, Role]], options: SourceOptions
) -> None:
    """Raise UserError if an option names no array."""
    wanted = (("image", "images", options.image_column), ("label", "labels", options.label_column))
    for option, kind, value in wanted:
        if value is not None and not any(role.role == kind for _, role in arrays):
            raise UserError(
                f"{path}: --{option}-column: there is no array with {value!r} in its name. "
                f"{_list(arrays)}"
            )


def _list(arrays: Sequence[tuple[NamedArray, Role]]) -> str:
    found = "; ".join(array.describe() for array, _ in arrays) or "none"
    return f"Its arrays: {found[:500]}."


def _choose_images(
    path: Path, arrays: Sequence[tuple[NamedArray, Role]]
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
        raise UserError(
            f"{path}: contains no array of images; expected uint8 of shape (N, H, W), "
            f"(N, H, W, C) or (N, C, H, W). {_list(arrays)}"
        )
    return images


def _find_labels(
    images: Mapping[tuple[str, str], NamedArray], arrays: Sequence[tuple[NamedArray, Role]]
) -> dict[tuple[str, str], NamedArray]:
    """Return the labels of arrays of images: those with the same split and other words.

    If there is none, but one array of images and one of as many labels for the split, that one.
    """
    labels = {role.group(): array for array, role in arrays if role.role == "labels"}
    found = {}
    for group, array in images.items():
        others = [each for (split, _), each in labels.items() if split == group[0]]
        alone = sum(split == group[0] for split, _ in images) == len(others) == 1
        if group in labels:
            found[group] = labels[group]
        elif alone and others[0].values.shape[:1] == array.values.shape[:1]:
            found[group] = others[0]
    return found


def _with_labels(file: Path, options: SourceOptions) -> list[Path]:
    """Return a `.npy` file of images, and the one of its labels if it is beside it."""
    own = parse_name(file.stem, "", options)
    beside = sorted(each for each in file.parent.glob("*.npy") if each != file and each.is_file())
    for other in beside:
        role = parse_name(other.stem, "", options)
        if role.role == "labels" and (role.split, role.others) == (own.split, own.others):
            return [file, other]
    return [file]


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
