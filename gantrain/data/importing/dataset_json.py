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

    A file of another format changes nothing.

    Raises UserError if an entry is not a file and a class.
    """
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        source.notes.append(f"{name} is not JSON and was ignored.")
        return
    entries = tree.get("labels") if isinstance(tree, dict) else None
    if entries is None:
        return
    where = source.locate(name)
    if not isinstance(entries, list):
        raise UserError(f"{where}: its labels are not a list{_EXPECTED}")
    folder = PurePosixPath(name).parent
    classes: dict[str, str] = {}
    for number, entry in enumerate(entries):
        label = _class_of(entry)
        if label is None:
            raise UserError(f"{where}: labels[{number}] is {str(entry)[:80]}{_EXPECTED}")
        classes[str(folder / entry[0].replace("\\", "/"))] = label
    unknown = classes.keys() - set(source.names)
    if unknown:
        source.notes.append(
            f"{len(unknown)} labels of {name} are of no image here, such as {min(unknown)}."
        )
    source.labels = StatedLabels([classes.get(image) for image in source.names], name)


_EXPECTED = (
    '; expected [file, class] for each image, such as ["00000/img00000000.png", 3]. '
    "--classes none imports without labels."
)


def _class_of(entry: Any) -> str | None:
    """Return the class of `[file, number or name]` or `[file, [0, 1, 0]]`, else None."""
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):
        return None
    label = entry[1]
    if isinstance(label, list) and label.count(1) == 1 and label.count(0) == len(label) - 1:
        return str(label.index(1))
    if isinstance(label, str | int) and not isinstance(label, bool):
        return str(label)
    return None
