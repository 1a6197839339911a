"""What an import will do: the class and the split of each image, and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gantrain.common.text import counted, printable
from gantrain.data.importing.labelling import (
    ClassSetting,
    Labelling,
    Rule,
    label_images,
    name_classes,
)
from gantrain.data.importing.sources import StatedLabels
from gantrain.data.importing.splits import SplitSetting, find_split_folders
from gantrain.data.importing.validation_lists import (
    ValidationList,
    ValidationNames,
    match_validation_list,
)
from gantrain.data.shards.samples import SPLITS, Label, Split, split_of


@dataclass(frozen=True)
class ImportPlan:
    """The labels of all images of a source, and how they were decided.

    rule, reason: of the classes; see `Labelling`.
    labels: of each image, by its path; with "split", and with "part" if it has a class.
    classes: number of images of each class.
    split_folders: number of images by name of the split folder and split.
    validation_list: the list that names validation images, if there is one.
    validation_listed: number of images that it names.
    validation_missing: lines of the list that name no image.
    notes: what a user should know, one sentence each.
    """

    rule: Rule
    reason: str
    labels: dict[str, Label]
    classes: dict[str, int]
    split_folders: dict[tuple[str, Split], int]
    validation_list: Path | None
    validation_listed: int
    validation_missing: tuple[str, ...]
    notes: tuple[str, ...]

    def splits(self) -> dict[Split, int]:
        """Return the number of images of each split."""
        counts = dict.fromkeys(SPLITS, 0)
        for label in self.labels.values():
            counts[split_of(label)] += 1
        return counts

    def describe(self, limit: int = 10) -> list[str]:
        """Return the decisions in lines for the user; of the classes, the first `limit`."""
        return [self._describe_classes(limit), self._describe_splits(), *self.notes]

    def _describe_classes(self, limit: int) -> str:
        why = f"({self.reason}; change with --classes)"
        if not self.classes:
            return f"classes: none {why}"
        shown = [f"{name} {count}" for name, count in list(self.classes.items())[:limit]]
        if len(self.classes) > limit:
            shown.append(f"... and {len(self.classes) - limit} more")
        return f"classes: {len(self.classes)} by {self.rule} {why}: {', '.join(shown)}"

    def _describe_splits(self) -> str:
        counts = self.splits()
        text = f"splits: train {counts['train']}, validation {counts['validation']}"
        if counts["validation"]:
            text += " (held out, never trained on)"
        sources = [
            f"{printable(name)}/ {count} for {split}"
            for (name, split), count in self.split_folders.items()
        ]
        if self.split_folders:
            sources[-1] += " (change with --splits)"
        if self.validation_list is not None:
            images = counted(self.validation_listed, "image")
            sources.append(f"{images} listed in {self.validation_list}")
        return f"{text}: {', '.join(sources)}" if sources else f"{text} (no split folders)"


def plan_labels(
    images: Iterable[str],
    *,
    classes: ClassSetting = "auto",
    splits: SplitSetting = "auto",
    validation_list: ValidationList | None = None,
    stated: StatedLabels | None = None,
    class_names: Sequence[str] = (),
) -> ImportPlan:
    """Decide class and split of images, given by their paths in a folder or an archive.

    classes, stated: see `label_images`. splits: see `find_split_folders`.
    class_names: see `name_classes`; the classes keep their names if it is empty.
    validation_list: names further images to hold out.

    Raises UserError if a setting does not fit the images, or no image is left to train on.
    """
    folders = {image: PurePosixPath(image).parent.parts for image in images}
    found = find_split_folders(folders, splits)
    labelling = label_images(found.folders, classes, stated)
    if class_names:
        labelling = name_classes(labelling, class_names)
    names = ValidationNames(frozenset(), ())
    if validation_list is not None:
        names = match_validation_list(validation_list, folders)
    held_out: dict[str, Split] = dict.fromkeys(names.chosen, "validation")
    all_splits = {**dict.fromkeys(folders, SPLITS[0]), **found.splits, **held_out}
    return ImportPlan(
        rule=labelling.rule,
        reason=labelling.reason,
        labels={
            image: {**label, "split": all_splits[image]}
            for image, label in labelling.labels.items()
        },
        classes=labelling.classes(),
        split_folders=found.found,
        validation_list=None if validation_list is None else validation_list.origin,
        validation_listed=len(names.chosen),
        validation_missing=names.missing,
        notes=(*labelling.notes, *found.notes, *_note_lost_classes(labelling, all_splits)),
    )


def _note_lost_classes(labelling: Labelling, splits: dict[str, Split]) -> list[str]:
    """Return a note about classes that have no image to train on."""
    trained = {
        label.get("part") for image, label in labelling.labels.items() if splits[image] == "train"
    }
    lost = [name for name in labelling.classes() if name not in trained]
    if not lost:
        return []
    return [f"All images of {', '.join(f'`{name}`' for name in lost[:4])} are held out."]
