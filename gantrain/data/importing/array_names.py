"""What the names of arrays say.

Words such as x, images and arr_0 stand for images; y, labels, targets and arr_1 for labels; train,
val and test for splits. Labels belong to the images of which the split and the other words are the
same.
"""

import re
from dataclasses import dataclass
from typing import Literal

from gantrain.data.importing.npy import NamedArray
from gantrain.data.importing.sources import SourceOptions
from gantrain.data.importing.splits import customary_split

_IMAGE_WORDS = {"x", "image", "images", "img", "imgs", "data", "samples", "pixels", "inputs"}
_LABEL_WORDS = {"y", "label", "labels", "target", "targets", "class", "classes"}


@dataclass(frozen=True)
class Role:
    """What the name of an array says: its role, its split ("" for none), and its other words."""

    role: Literal["images", "labels", ""]
    split: str
    others: str

    def group(self) -> tuple[str, str]:
        """Return what images and their labels have in common."""
        return self.split, self.others


def role_of(array: NamedArray, options: SourceOptions) -> Role:
    """Return the role of an array, by its name and, in a `.npz` file, that of the file."""
    around = "" if array.file.suffix.lower() == ".npy" else array.file.stem
    return parse_name(array.name, around, options)


def parse_name(name: str, around: str, options: SourceOptions) -> Role:
    """Return the role of an array.

    around: the stem of the file that contains arrays of several names.
    options: `image_column` and `label_column` are what stands for images and labels in names, in
        place of the customary words.
    """
    role: Literal["images", "labels", ""] = ""
    split = ""
    others = []
    name = name.casefold()
    image = _pattern(options.image_column or "arr_0")
    label = _pattern(options.label_column or "arr_1")
    if image.search(name):
        role, name = "images", image.sub(" ", name)
    elif label.search(name):
        role, name = "labels", label.sub(" ", name)
    images = _IMAGE_WORDS if options.image_column is None else ()
    labels = _LABEL_WORDS if options.label_column is None else ()
    for word in filter(None, re.split(r"[\W_]+", name)):
        if not split and word[:1] in "xy" and customary_split(word[1:]) is not None:
            role, split = "images" if word[0] == "x" else "labels", word[1:]
        elif not role and word in images:
            role = "images"
        elif not role and word in labels:
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
    return Role(role, split, "-".join(others))


def _pattern(text: str) -> re.Pattern[str]:
    """Return a pattern that finds a name as whole words, which an underscore separates too."""
    return re.compile(rf"(?<![^\W_]){re.escape(text.casefold())}(?![^\W_])")
