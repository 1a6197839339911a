"""StyleGAN's `dataset.json`, the labels of images in a folder or a zip archive.

`{"labels": [["00000/img00000000.png", 3], ...]}`, or null where there are no labels.
"""

import json
from pathlib import PurePosixPath
from typing import Any

from gantrain.common.errors import UserError
from gantrain.data.importing.sources import Source, StatedLabels

NAME = "dataset.json"
MAX_BYTES = 1 << 30


def read_dataset_labels(source: Source, content: bytes, name: str) -> None:
    """Set a source's labels to those of a `dataset.json`, whose paths begin at its own folder.

    name: the path of the file in the source.

    Other tools have files of that name. One of another format is a note, and changes nothing else.

    Raises UserError if a label is not a class.
    """
    try:
        entries = json.loads(content)["labels"]
    except (ValueError, TypeError, KeyError, RecursionError):
        entries = False
    if entries is None:
        return
    if not isinstance(entries, list) or not all(map(_is_pair, entries)):
        source.notes.append(f"{name} is not in StyleGAN's format and was ignored.")
        return
    folder = PurePosixPath(name).parent
    classes: dict[str, str] = {}
    for file, label in entries:
        found = _class_of(label)
        if found is None:
            raise UserError(
                f"{source.locate(name)}: the label of {file} is {str(label)[:80]}; expected a "
                "number, a name or a one-hot vector. --classes none imports without labels."
            )
        classes[str(folder / file.replace("\\", "/"))] = found
    unknown = classes.keys() - set(source.names)
    if unknown:
        source.notes.append(
            f"{len(unknown)} labels of {name} are of no image here, such as {min(unknown)}."
        )
    if len(unknown) < len(classes):
        source.labels = StatedLabels([classes.get(image) for image in source.names], name)


def _is_pair(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)


def _class_of(label: Any) -> str | None:
    """Return the class that a number, a name or a one-hot vector stands for, else None."""
    if isinstance(label, list) and label.count(1) == 1 and label.count(0) == len(label) - 1:
        return str(label.index(1))
    if isinstance(label, str | int) and not isinstance(label, bool):
        return str(label)
    return None
