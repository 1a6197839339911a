"""The index of one tar by another tool: where its usable images are, and their labels.

A file beside the tar, in NumPy's `.npz` format; `gantrain data index` writes it. Our own shards do
without: their images and labels are found from the tar's headers alone.
"""

import io
import json
import zipfile
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gantrain.data.shards.samples import Label

_VERSION = 1
NO_CLASS = -1


@dataclass(frozen=True)
class ImageIndex:
    """The usable images of one tar, in its order.

    ranges: int64 (N, 2), offset and length of each image in the tar.
    crc32: uint32 (N,), of each image's bytes.
    class_index: int64 (N,), index into `classes`; -1 for an image without a class.
    held_out: bool (N,), whether the image is in the split "validation".
    classes: key and display name of each class.
    encoded_names: UTF-8 names of the members, printable, one a line.
    """

    ranges: NDArray[np.int64]
    crc32: NDArray[np.uint32]
    class_index: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    classes: tuple[tuple[str, str], ...]
    encoded_names: bytes

    def __len__(self) -> int:
        return len(self.ranges)

    @cached_property
    def names(self) -> list[str]:
        """Names of the members."""
        return self.encoded_names.decode().split("\n")

    def label(self, row: int) -> Label:
        """Return the label of the row-th image."""
        label: Label = {"split": "validation" if self.held_out[row] else "train"}
        if self.class_index[row] != NO_CLASS:
            label["part"], label["name"] = self.classes[self.class_index[row]]
        return label

    def to_bytes(self) -> bytes:
        """Return the content of the file; equal indexes give equal bytes."""
        file = io.BytesIO()
        np.savez(
            file,
            version=np.array(_VERSION),
            ranges=self.ranges,
            crc32=self.crc32,
            class_index=self.class_index,
            held_out=self.held_out,
            classes=np.frombuffer(json.dumps(self.classes, ensure_ascii=False).encode(), np.uint8),
            names=np.frombuffer(self.encoded_names, np.uint8),
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, count: int, tar_bytes: int) -> "ImageIndex":
        """Read what `to_bytes` returned.

        Raises ValueError unless it is the index of `count` images in a tar of `tar_bytes` bytes.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                if arrays["version"] != _VERSION:
                    raise ValueError(f"version {arrays['version']}")
                classes = json.loads(arrays["classes"].tobytes())
                index = cls(
                    arrays["ranges"],
                    arrays["crc32"],
                    arrays["class_index"],
                    arrays["held_out"],
                    tuple((str(key), str(name)) for key, name in classes),
                    arrays["names"].tobytes(),
                )
        except (KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(str(error)) from None
        index.check(count, tar_bytes)
        return index

    def check(self, count: int, tar_bytes: int) -> None:
        """Raise ValueError unless the index is of `count` images in a tar of `tar_bytes` bytes."""
        expected = (
            (self.ranges, np.int64, (count, 2)),
            (self.crc32, np.uint32, (count,)),
            (self.class_index, np.int64, (count,)),
            (self.held_out, np.bool_, (count,)),
        )
        for array, kind, shape in expected:
            if array.dtype != kind or array.shape != shape:
                raise ValueError(f"an array of {array.dtype} {array.shape}")
        inside = (self.ranges[:, 1] > 0) & (self.ranges[:, 0] >= 0)
        inside &= self.ranges.sum(axis=1) <= tar_bytes
        if not inside.all() or not (self.class_index < len(self.classes)).all():
            raise ValueError("a number out of range")
        if self.encoded_names.count(b"\n") != count - 1:
            raise ValueError(f"not the names of {count} images")
