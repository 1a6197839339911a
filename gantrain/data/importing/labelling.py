"""Classes of images, from the labels that a source states or from the names of files and folders.

One rule for a whole set.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Literal, get_args

from gantrain.common.errors import UserError
from gantrain.common.text import printable
from gantrain.data.importing.filenames import label_from_name
from gantrain.data.importing.sources import StatedLabels
from gantrain.data.importing.splits import Folders
from gantrain.data.shards.samples import Label

Rule = Literal["label", "folder", "path", "name", "none"]
ClassSetting = Literal["auto", "label", "folder", "path", "name", "none"]
CLASS_SETTINGS: tuple[ClassSetting, ...] = get_args(ClassSetting)

_MAX_NAMES = 4  # in a note


@dataclass(frozen=True)
class Labelling:
    """The labels of images, all by the same rule.

    reason: why this rule, for display.
    labels: of each image; without "part" for an image without a class.
    notes: what a user should know, one sentence each.
    """

    rule: Rule
    reason: str
    labels: dict[str, Label]
    notes: tuple[str, ...] = field(default=())

    def classes(self) -> dict[str, int]:
        """Return the number of images of each class, the classes sorted."""
        counts = Counter(str(label["part"]) for label in self.labels.values() if "part" in label)
        return {name: counts[name] for name in sorted(counts)}


def label_images(
    images: Mapping[str, Folders], setting: ClassSetting, stated: StatedLabels | None = None
) -> Labelling:
    """Label images, given by path with the folders that may be their class, the outermost first.

    stated: the classes that the source states, in the order of the images.
    setting:
        "label": the class is the one that the source states.
        "folder": the class is the innermost folder.
        "path": the class is all folders, joined with "/".
        "name": class, view and camera are read from names such as `3001 brick 2x4 000L.png`.
        "none": no image has a class.
        "auto": "label" if the source states classes. If it states none, "path", without the
            folders around all images, if there are class folders. If there are none, "name" if
            the names of most images have that form, else "none".

    Class folders are compared in Unicode's composed form (NFC); control characters are escaped.

    Raises UserError if the setting gives no image a class.
    """
    if setting not in CLASS_SETTINGS:
        raise UserError(f"classes is {setting!r}; expected one of {', '.join(CLASS_SETTINGS)}.")
    if setting == "label" and stated is None:
        raise UserError("--classes label: the source states no labels; use folder, name or none.")
    if stated is not None and setting in ("auto", "label"):
        return _by_label(images, stated)
    if setting == "auto":
        return _choose(images)
    reason = f"as --classes {setting} states"
    if setting == "none":
        return Labelling("none", reason, {image: {"file": image} for image in images})
    if setting == "name":
        return _by_name(images, reason)
    if not any(images.values()):
        raise UserError(f"--classes {setting}: no image is in a class folder; use --classes none.")
    innermost = slice(-1, None) if setting == "folder" else slice(None)
    return _by_folder(images, setting, reason, lambda folders: folders[innermost])


def name_classes(labelling: Labelling, names: Sequence[str]) -> Labelling:
    """Give classes that are numbers their names: "0" becomes the first name.

    Raises UserError if a class is not a number, or has no name.
    """
    highest = len(names) - 1
    for found in labelling.classes():
        if not found.isdecimal() or not found.isascii():
            raise UserError(
                f"--class-names: names are for classes that are numbers; here {found!r} is one."
            )
        if int(found) > highest:
            raise UserError(
                f"--class-names: there are {len(names)} names, for the classes 0 to {highest}, but "
                f"there is a class {found}."
            )
    named: dict[str, Label] = {
        image: label | {"part": names[int(label["part"])], "name": names[int(label["part"])]}
        if "part" in label
        else label
        for image, label in labelling.labels.items()
    }
    return replace(labelling, labels=named)


def _by_label(images: Collection[str], stated: StatedLabels) -> Labelling:
    labels: dict[str, Label] = {}
    without = []
    for image, found in zip(images, stated.classes, strict=True):
        if found is None:
            labels[image] = {"file": image}
            without.append(image)
        else:
            name = printable(unicodedata.normalize("NFC", found))
            labels[image] = {"part": name, "name": name, "file": image}
    notes = _note_without_class(without, len(images))
    return Labelling("label", f"from {printable(stated.origin)}", labels, notes)


def _choose(images: Mapping[str, Folders]) -> Labelling:
    around = _common(images.values())
    class_folders = {folders for folders in images.values() if folders != around}
    named = sum(label_from_name(image) is not None for image in images)
    by_name = f"{named} of {len(images)} file names are like `{_an_example(images)}`"
    if len(class_folders) < 2 and 2 * named > len(images):
        where = "" if class_folders else "no class folders, and "
        return _by_name(images, where + by_name)
    notes = []
    if named:
        notes.append(f"Ambiguous: {by_name}; --classes name takes the classes from them.")
    if not class_folders:
        if around:
            notes.append(f"--classes folder makes `{printable(around[-1])}` the class of all.")
        labels: dict[str, Label] = {image: {"file": image} for image in images}
        return Labelling("none", "no class folders", labels, tuple(notes))
    reason = f"the images are in {len(class_folders)} class folders"
    if around:
        reason += f"; {printable('/'.join(around))}/, which is around all, is left out"
    if len(class_folders) == 1:
        reason = "some images are in a class folder"
        notes.append("Ambiguous: there is one class folder; --classes none gives no classes.")
    if len({len(folders) for folders in class_folders}) > 1:
        notes.append(
            "Ambiguous: the class folders are at different depths; --classes folder takes the "
            "innermost folder of each image alone."
        )
    found = _by_folder(images, "path", reason, lambda folders: folders[len(around) :])
    if 2 * len(found.classes()) > len(images) > 2:
        notes.append(
            f"Ambiguous: {len(found.classes())} classes for {len(images)} images are many; perhaps "
            "the folders are no classes (--classes none)."
        )
    return Labelling(found.rule, found.reason, found.labels, (*notes, *found.notes))


def _common(folders: Collection[Folders]) -> Folders:
    """Return the folders around all images."""
    levels = takewhile(lambda names: len(set(names)) == 1, zip(*folders, strict=False))
    return tuple(names[0] for names in levels)


def _by_name(images: Mapping[str, Folders], reason: str) -> Labelling:
    labels = {image: label_from_name(image) for image in images}
    without = [image for image, label in labels.items() if label is None]
    if len(without) == len(labels):
        raise UserError(
            "--classes name: no file name is like `3001 brick 2x4 000L.png` (number, name, view, "
            "camera); use --classes folder, path or none."
        )
    notes = _note_without_class(without, len(images))
    return Labelling(
        "name", reason, {image: label or {"file": image} for image, label in labels.items()}, notes
    )


def _by_folder(
    images: Mapping[str, Folders], rule: Rule, reason: str, select: Callable[[Folders], Folders]
) -> Labelling:
    labels: dict[str, Label] = {}
    sources: dict[str, dict[Folders, None]] = {}  # of each class, in order
    without = []
    for image, folders in images.items():
        chosen = select(folders)
        if not chosen:
            labels[image] = {"file": image}
            without.append(image)
            continue
        name = printable(unicodedata.normalize("NFC", "/".join(chosen)))
        labels[image] = {"part": name, "name": name, "file": image}
        sources.setdefault(name, {})[folders] = None
    notes = (*_note_equal_names(sources), *_note_without_class(without, len(images)))
    return Labelling(rule, reason, labels, notes)


def _note_equal_names(sources: Mapping[str, Mapping[Folders, None]]) -> list[str]:
    notes = []
    merged = {name: each for name, each in sources.items() if len(each) > 1}
    for name, folders in list(merged.items())[:_MAX_NAMES]:
        paths = [printable("/".join(each)) for each in folders]
        if len(set(map(_composed, paths))) == 1:
            notes.append(f"`{name}` is one class; its {len(paths)} folders differ in Unicode form.")
        else:
            more = ", …" if len(paths) > _MAX_NAMES else ""
            paths = paths[:_MAX_NAMES]
            notes.append(f"`{name}` is the class of several folders: {', '.join(paths)}{more}.")
    if len(merged) > _MAX_NAMES:
        notes.append(f"So are {len(merged) - _MAX_NAMES} more.")
    by_case: dict[str, list[str]] = {}
    for name in sources:
        by_case.setdefault(name.casefold(), []).append(name)
    for names in [each for each in by_case.values() if len(each) > 1][:_MAX_NAMES]:
        listed = " and ".join(f"`{name}`" for name in sorted(names))
        notes.append(f"{listed} differ only in case and are {len(names)} classes.")
    return notes


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _note_without_class(images: list[str], total: int) -> tuple[str, ...]:
    if not images:
        return ()
    return (f"{len(images)} of {total} images have no class, such as {printable(images[0])}.",)


def _an_example(images: Mapping[str, Folders]) -> str:
    matches = (PurePosixPath(image).name for image in images if label_from_name(image))
    return printable(next(matches, ""))
