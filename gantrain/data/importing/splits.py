"""Folders that divide a data set into images to train on and images to hold out."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from gantrain.common.errors import UserError
from gantrain.common.text import printable
from gantrain.data.shards.samples import SPLITS, Split

Folders = tuple[str, ...]  # names of folders, the outermost first
# "auto" knows customary names, "none" knows none; or the split of each folder name.
SplitSetting = Literal["auto", "none"] | Mapping[str, Split]

_AFFIX = r"(set|data|images|imgs|split)?\d*"
_TRAIN = re.compile(rf"(train|training|trn){_AFFIX}")
_HELD_OUT = re.compile(
    rf"(val|valid|validation|test|testing|tst|dev|eval|evaluation|holdout|heldout){_AFFIX}"
)
_SEPARATORS = re.compile(r"[\s_.-]+")
_MAX_NAMES = 4  # in a note


@dataclass(frozen=True)
class SplitFolders:
    """The split folders among the folders of images.

    splits: the split of each image that is in a split folder.
    folders: the other folders of each image, which may be its class.
    found: number of images by name of the split folder and split.
    notes: what a user should know, one sentence each.
    """

    splits: dict[str, Split]
    folders: dict[str, Folders]
    found: dict[tuple[str, Split], int]
    notes: tuple[str, ...]


def parse_splits(text: str) -> SplitSetting:
    """Read "auto", "none" or FOLDER=train,FOLDER=validation.

    Raises UserError for any other text.
    """
    if text == "auto":
        return "auto"
    if text == "none":
        return "none"
    splits: dict[str, Split] = {}
    for pair in text.split(","):
        name, equals, value = pair.rpartition("=")
        split = next((split for split in SPLITS if split == value.strip().casefold()), None)
        if not equals or not name.strip("/ ") or split is None:
            raise UserError(
                f"splits is {text!r}; expected auto, none, or a split for each folder name, such "
                "as `seg_train=train,seg_test=validation`."
            )
        splits[name.strip("/ ").casefold()] = split
    return splits


def customary_split(name: str) -> Split | None:
    """Return the split that a folder's name customarily stands for, such as `Test` or `val_set`."""
    name = _SEPARATORS.sub("", name.casefold())
    if _TRAIN.fullmatch(name):
        return "train"
    return "validation" if _HELD_OUT.fullmatch(name) else None


def find_split_folders(images: Mapping[str, Folders], setting: SplitSetting) -> SplitFolders:
    """Find the split folders, by name, among the folders of each image.

    "auto" takes customary names at one depth for splits if
    - names for training and for holding out both occur there,
    - only names for holding out do, and the other images are right beside those folders, or there
      are several such names,
    - or all have names for training, or all images are in one folder with a name for holding out:
      then they are trained on.
    Other folders of such names are classes.

    Raises UserError if a folder name of the setting does not occur, or if no image is left to
    train on.
    """
    if setting == "none":
        return SplitFolders({}, dict(images), {}, ())
    found = _find_customary(images) if setting == "auto" else _find_named(images, setting)
    if images and sum(split == "validation" for split in found.splits.values()) == len(images):
        names = ", ".join(f"{name}/" for name, _ in found.found)
        raise UserError(
            f"No image is left to train on: all are in {names}, which are held out. Give the split "
            "of each folder, such as `--splits test=train`, or take none for a split with "
            "`--splits none`."
        )
    return found


def _find_named(images: Mapping[str, Folders], setting: Mapping[str, Split]) -> SplitFolders:
    names = {folder.casefold() for folders in images.values() for folder in folders}
    for name in setting:
        if name not in names:
            raise UserError(f"splits: no image is in a folder {name!r}.")
    chosen = {
        image: [folder for folder in folders if folder.casefold() in setting][:1]
        for image, folders in images.items()
    }
    splits = {
        image: setting[folder.casefold()] for image, names in chosen.items() for folder in names
    }
    others = {
        image: tuple(folder for folder in folders if folder.casefold() not in setting)
        for image, folders in images.items()
    }
    found = Counter((names[0], splits[image]) for image, names in chosen.items() if names)
    return SplitFolders(splits, others, dict(found), ())


def _find_customary(images: Mapping[str, Folders]) -> SplitFolders:
    notes: list[str] = []
    splits: dict[str, Split] = {}
    found: Counter[tuple[str, Split]] = Counter()
    removed: set[int] = set()  # depths of split folders
    for depth in range(max(map(len, images.values()), default=0)):
        here = {image: fs[depth] for image, fs in images.items() if len(fs) > depth}
        parents = {images[image][:depth] for image in here}
        loose = any(folders in parents for folders in images.values())
        meaning = _meaning(set(here.values()), loose, all_here=len(here) == len(images))
        if meaning is None:
            continue
        if not splits:
            for image, name in here.items():
                split = customary_split(name)
                if split is not None:
                    split = "train" if meaning == "all train" else split
                    splits[image] = split
                    found[name, split] += 1
            removed.add(depth)
            if meaning == "all train" and any(_is_held_out(name) for name in here.values()):
                (name,) = {*here.values()}
                notes.append(
                    f"All images are in {name}/, so they are trained on; hold them out with "
                    f"`--splits {name}=validation` beside other images."
                )
        elif all(customary_split(name) in (None, splits.get(i)) for i, name in here.items()):
            removed.add(depth)  # as in `train/train/cat`
    others = {
        image: tuple(
            folder
            for depth, folder in enumerate(folders)
            if depth not in removed or customary_split(folder) is None
        )
        for image, folders in images.items()
    }
    if not splits:
        notes += _note_unknown(others.values())
    return SplitFolders(splits, others, dict(found), tuple(notes))


def _is_held_out(name: str) -> bool:
    return customary_split(name) == "validation"


def _meaning(
    names: set[str], loose: bool, *, all_here: bool
) -> Literal["splits", "all train"] | None:
    """Return how to take the folders at one depth; None for classes.

    loose: whether there are images beside these folders. all_here: whether all images are in them.
    """
    splits = {customary_split(name) for name in names}
    if {"train", "validation"} <= splits:
        return "splits"
    if splits == {"train"}:
        return "all train"
    if splits == {"validation"}:
        return "splits" if loose or len(names) > 1 else "all train" if all_here else None
    return None


def _note_unknown(folders: Iterable[Folders]) -> list[str]:
    """Return a note about class folders whose names sound like those of splits."""
    sounding: dict[str, Split] = {}
    for name in sorted({name for each in folders for name in each}):
        for split in map(customary_split, _SEPARATORS.split(name)):
            if split is not None:
                sounding[name] = split
    if not sounding:
        return []
    some = dict(list(sounding.items())[:_MAX_NAMES])
    example = ",".join(f"{name}={split}" for name, split in some.items())
    return [
        f"Ambiguous: taken for class folders, not for splits: "
        f"{', '.join(f'`{printable(name)}`' for name in some)}; if they are splits, add "
        f'--splits "{printable(example)}".'
    ]
