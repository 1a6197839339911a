"""What an import reads: a source that lists its images by name and hands out their contents.

A kind of source is one module with a function that opens it: files in, `Source` out. It names its
images with paths, such as `train/cat/1.png` or `test/00017`. From these `labelling` and `splits`
take classes and splits, as they do for files in folders, unless the source states labels itself.
`detection` chooses the kind. A new kind needs a line in its table, nothing else.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError, os_reason
from gantrain.data.importing.filenames import display_path
from gantrain.data.importing.validation_lists import ValidationList

MAX_IN_MEMORY = 4 << 30  # bytes of what is decompressed at once


@dataclass(frozen=True)
class FileRange:
    """Bytes in the middle of a file, which a worker process reads."""

    path: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """Return the bytes. Raises UserError if the file does not contain them all."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                content = file.read(self.length)
        except OSError as error:
            raise UserError(os_reason(error)) from None
        if len(content) < self.length:
            raise UserError("truncated: the file ends within the image")
        return content


# An encoded image: its file, a range of a file, or its bytes. Or pixels: (H, W) or (H, W, C) with
# 1 to 4 channels: grey, grey and alpha, RGB, RGB and alpha. Workers get it, so it pickles.
Content = Path | FileRange | bytes | NDArray[np.uint8]


@dataclass(frozen=True)
class StatedLabels:
    """The classes that a source itself states.

    classes: of each image, in the order of the source; None for an image without a class.
    origin: where they are stated, for display, such as `train-labels-idx1-ubyte.gz`.
    """

    classes: Sequence[str | None]
    origin: str


def _shuffled(count: int, rng: random.Random) -> list[int]:
    order = list(range(count))
    rng.shuffle(order)
    return order


@dataclass
class Source:
    """An opened source of images. A context manager that closes its files.

    path: what the user gave.
    kind: for display, such as "IDX files".
    names: path-like names of the images, unique, in natural order.
    content: called in this process, once for each image, with its index; in the order of `order`.
        It raises UserError with the reason, without the name, if the image cannot be read; the
        image is then counted, named and left out.
    size: width and height of all images, where the source states them.
    labels: the classes that the source states; None leaves them to the names.
    ignored: number of files or entries that are not images, by suffix ("" for none).
    unreadable: reasons why images, or folders (with a final "/"), cannot be read.
    notes: what a user should know, one sentence each.
    order: of (number of images, rng); the order in which the images are read and written: a
        uniformly random one, unless that is too slow.
    validation_list: returns the list of validation images that is among the images, or None.
        Raises UserError.
    resources: what is closed at the end.
    """

    path: Path
    kind: str
    names: list[str]
    content: Callable[[int], Content]
    size: tuple[int, int] | None = None
    labels: StatedLabels | None = None
    ignored: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    order: Callable[[int, random.Random], list[int]] = _shuffled
    validation_list: Callable[[], ValidationList | None] = lambda: None
    resources: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.resources.close()

    def describe(self) -> list[str]:
        """Return what the source is, and its notes, in lines for the user."""
        return [f"source: {self.kind}", *self.notes]

    def locate(self, name: str) -> str:
        """Return an image's place, for error messages."""
        separator = "/" if self.path.is_dir() else ": "
        return f"{display_path(self.path)}{separator}{name}"


@dataclass(frozen=True)
class SourceOptions:
    """What a user may say about sources.

    read_labels: whether the labels that a source states are wanted.
    image_column, label_column: where images and labels are in a table, an archive of arrays, or
        a sample of a tar; None for customary names.
    """

    read_labels: bool = True
    image_column: str | None = None
    label_column: str | None = None
