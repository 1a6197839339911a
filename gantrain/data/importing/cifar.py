"""The binary versions of CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html).

A record is one label (CIFAR-10) or a coarse and a fine one (CIFAR-100), and the red, green and
blue planes of 32x32 pixels.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gantrain.common.errors import UserError, os_reason
from gantrain.data.importing.listing import count_suffixes
from gantrain.data.importing.rows import Rows, open_rows
from gantrain.data.importing.sources import Source, SourceOptions

_NAME = re.compile(r"(data_batch_\d+|test_batch|train|test)\.bin", re.IGNORECASE)
_PICKLE = re.compile(r"data_batch_\d+|test_batch|batches\.meta")
_PIXELS = ("pixels", "u1", (3, 32, 32))


@dataclass(frozen=True)
class _Version:
    """The layout of a record, and the files with the names of the classes by label."""

    name: str
    record: np.dtype[np.void]
    labels: dict[str, tuple[str, int]]


_CIFAR_10 = _Version(
    "CIFAR-10", np.dtype([("label", "u1"), _PIXELS]), {"label": ("batches.meta.txt", 10)}
)
_CIFAR_100 = _Version(
    "CIFAR-100",
    np.dtype([("coarse", "u1"), ("fine", "u1"), _PIXELS]),
    {"fine": ("fine_label_names.txt", 100), "coarse": ("coarse_label_names.txt", 20)},
)


def has_name(name: str) -> bool:
    """Return whether a file's name is one of CIFAR's, binary or pickled."""
    return _NAME.fullmatch(name) is not None or _PICKLE.fullmatch(name) is not None


def has_head(head: bytes) -> bool:
    """Return False: the files have no header."""
    return False


def open_cifar(path: Path, files: Sequence[Path], options: SourceOptions) -> Source:
    """Open CIFAR's binary files, with the names of the classes beside them.

    The classes of CIFAR-100 are the fine labels, or the coarse ones if the options' label column
    is "coarse".

    Raises UserError if the files are those of the Python version, which are pickles, of both
    versions, damaged, or if a label is out of range.
    """
    binary = [file for file in files if _NAME.fullmatch(file.name)]
    if not binary:
        raise UserError(
            f"{files[0]}: a file of CIFAR's Python version, a pickle, which is never loaded; get "
            "the binary version (cifar-10-binary.tar.gz or cifar-100-binary.tar.gz) and unpack it."
        )
    versions = {_version(file).name: _version(file) for file in binary}
    if len(versions) > 1:
        raise UserError(f"{path}: contains CIFAR-10 and CIFAR-100; give the folder of one.")
    ((name, version),) = versions.items()
    column = options.label_column or next(iter(version.labels))
    if column not in version.labels:
        raise UserError(
            f"--label-column is {column!r}; the labels of {name} are {', '.join(version.labels)}."
        )
    meta, classes = version.labels[column]
    names = _read_names(binary[0].with_name(meta), classes)
    parts = [_read(file, version, column, names) for file in binary]
    kind = f"{name} in binary ({', '.join(file.name for file in binary)})"
    origin = f"{column}s" if column == "label" else f"{column} labels"
    source = open_rows(path, kind, parts, f"{origin}, {_describe(names, meta)}")
    source.ignored = count_suffixes(file for file in files if file not in binary)
    return source


def _describe(names: Sequence[str], meta: str) -> str:
    return "numbers" if names[0] == "0" else f"named in {meta}"


def _version(file: Path) -> _Version:
    return _CIFAR_100 if file.stem.lower() in ("train", "test") else _CIFAR_10


def _read_names(file: Path, count: int) -> list[str]:
    """Return the names of the classes, or their numbers if the file is not there."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return [str(number) for number in range(count)]
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({os_reason(error)}).") from None
    names = text.split()
    if len(names) != count or len(set(names)) != count:
        raise UserError(f"{file}: contains {len(names)} names; expected {count} different ones.")
    return names


def _read(file: Path, version: _Version, column: str, names: Sequence[str]) -> Rows:
    length, size = file.stat().st_size, version.record.itemsize
    if not length or length % size:
        raise UserError(
            f"{file}: contains {length:,} bytes; a binary file of {version.name} has records of "
            f"{size:,} bytes. Cut off, or another kind of file."
        )
    records = np.memmap(file, version.record, "r")
    labels = records[column].tolist()
    if max(labels) >= len(names):
        raise UserError(
            f"{file}: contains the {column} {max(labels)}; those of {version.name} are from 0 to "
            f"{len(names) - 1}. Damaged, or another kind of file."
        )
    folder = "test" if file.stem.lower().startswith("test") else "train"
    images = records["pixels"].transpose(0, 2, 3, 1)
    return Rows(folder, images, [names[label] for label in labels])
