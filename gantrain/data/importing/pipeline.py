"""Import of images, from whatever source, as a set of shards."""

import json
import random
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from gantrain.common.errors import UserError
from gantrain.common.pools import map_in_order
from gantrain.data.images.convert import (
    FITS,
    MAX_MEGAPIXELS,
    Conversion,
    Fit,
    describe_resize,
    parse_background,
)
from gantrain.data.importing.converting import Unreadable, convert
from gantrain.data.importing.detection import open_source
from gantrain.data.importing.filenames import (
    display_path,
    natural_order,
    unique_keys,
)
from gantrain.data.importing.labelling import ClassSetting
from gantrain.data.importing.planning import ImportPlan, plan_labels
from gantrain.data.importing.sources import Content, Source, SourceOptions
from gantrain.data.importing.splits import SplitSetting
from gantrain.data.importing.validation_lists import ValidationList, load_validation_list
from gantrain.data.shards.duplicates import Duplicates
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.samples import SPLITS, Sample
from gantrain.data.shards.staging import REPORT_NAME
from gantrain.data.shards.writer import write_shards

_LOOKED_AT = 64  # images whose colours are looked at if they become grey


@dataclass(frozen=True)
class ImportReport:
    """The result of an import.

    manifest: the manifest of the set that was written.
    plan: the classes and splits, and how they were decided.
    duplicates: the images that equal an earlier one.
    unreadable: (file, reason) for each image that could not be read, in file order.
    ignored: number of files or entries that are not images, by suffix ("" for none).
    lost_colours: what to do if images with colours have become grey; "" if none were noticed.
    """

    manifest: Manifest
    plan: ImportPlan
    duplicates: Duplicates
    unreadable: tuple[tuple[str, str], ...]
    ignored: dict[str, int]
    lost_colours: str


def import_images(
    source: Path,
    target: Path,
    *,
    size: int = 64,
    channels: int = 1,
    background: str = "black",
    fit: Fit = "crop",
    max_megapixels: float = MAX_MEGAPIXELS,
    classes: ClassSetting = "auto",
    class_names: Sequence[str] = (),
    splits: SplitSetting = "auto",
    validation_list: Path | None = None,
    images_per_shard: int = 1000,
    on_error: Literal["report", "fail"] = "report",
    workers: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    drop_duplicates: bool = False,
    options: SourceOptions | None = None,
    on_plan: Callable[[Source, ImportPlan], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Write the images of a source as a set of shards at `target`.

    source: a folder of images, or files of a kind that `open_source` knows.

    Classes and splits are those that the source states, or come from the names of files and
    folders (see `plan_labels`). The order of the images is shuffled by `seed`, so that each shard
    contains all classes. The same files give the same bytes. The report is also written to the
    target, as `import-report.json`.

    background, fit, max_megapixels: see `Conversion`; a colour as in `parse_background`.
    classes, class_names, splits: see `plan_labels`.
    on_error: "report" lists unreadable images in the report, "fail" stops at the first.
    workers: number of processes; None uses all available cores.
    validation_list: file with the names of the validation images, one per line; None uses the
        `validation.txt` in a folder of images or its parent, if there is one.
    drop_duplicates: leave out each image whose pixels equal those of an earlier one in the order of
        the set, whatever its class and split.
    on_plan: called with the opened source and the decisions before any image is read.
    on_progress: called in this process with (images done, total images).

    Raises UserError if the source cannot be opened or contains no readable image, a setting is out
    of range or does not fit the images, or the target cannot be written (see `write_shards`).
    """
    if fit not in FITS:
        raise UserError(f"fit is {fit!r}; expected one of {', '.join(FITS)}.")
    conversion = Conversion(size, channels, parse_background(background), fit, max_megapixels)
    options = replace(options or SourceOptions(), read_labels=classes in ("auto", "label"))
    with open_source(source, options) as opened:
        if opened.size is not None:
            opened.notes.insert(0, describe_resize(*opened.size, conversion))
        plan = _plan(opened, classes, class_names, splits, validation_list)
        if on_plan is not None:
            on_plan(opened, plan)
        duplicates, looked_at = Duplicates(), Counter[bool]()
        samples = _convert_all(
            opened,
            conversion,
            plan,
            looked_at,
            seed=seed,
            workers=workers,
            on_error=on_error,
            on_progress=on_progress,
        )
        with closing(samples):
            manifest = write_shards(
                target,
                samples,
                size=size,
                channels=channels,
                source=f"{display_path(source.absolute().name)} "
                f"(fit {fit}, background {background})",
                images_per_shard=images_per_shard,
                overwrite=overwrite,
                drop_duplicates=drop_duplicates,
                duplicates=duplicates,
                extra_files=lambda: {
                    REPORT_NAME: _report_json(
                        opened, plan, duplicates, _lost_colours(looked_at), dropped=drop_duplicates
                    )
                },
            )
    return ImportReport(
        manifest,
        plan,
        duplicates,
        tuple(opened.unreadable.items()),
        dict(sorted(opened.ignored.items())),
        _lost_colours(looked_at),
    )


def _plan(
    source: Source,
    classes: ClassSetting,
    class_names: Sequence[str],
    splits: SplitSetting,
    validation_list: Path | None,
) -> ImportPlan:
    if validation_list is not None:
        listed: ValidationList | None = load_validation_list(validation_list)
    else:
        listed = source.validation_list()
    plan = plan_labels(
        source.names,
        classes=classes,
        class_names=class_names,
        splits=splits,
        validation_list=listed,
        stated=source.labels,
    )
    if validation_list is not None and plan.validation_missing and not plan.validation_listed:
        raise UserError(
            f"{validation_list}: none of its {len(plan.validation_missing)} lines names an image "
            f"in {source.path}; the first is {plan.validation_missing[0][:80]!r}."
        )
    if listed is not None and listed.origin.resolve().is_relative_to(source.path.resolve()):
        source.ignored -= Counter({listed.origin.suffix.lower(): 1})
    return plan


def _convert_all(
    source: Source,
    conversion: Conversion,
    plan: ImportPlan,
    looked_at: Counter[bool],
    *,
    seed: int,
    workers: int | None,
    on_error: Literal["report", "fail"],
    on_progress: Callable[[int, int], None] | None,
) -> Generator[Sample, None, None]:
    """Yield the samples in shuffled order; add the unreadable images to the source's.

    looked_at: counts whether the first images lose colours.
    """
    keys = unique_keys(source.names, names_tell=plan.rule == "name")
    total = len(keys)
    order = source.order(total, random.Random(seed))
    problems: dict[str, str] = {}
    tasks = (
        (content, conversion.channels == 1 and i < _LOOKED_AT)
        for i, content in enumerate(_contents(source, order))
    )
    results = map_in_order(partial(convert, conversion=conversion), tasks, workers=workers)
    for done, (index, result) in enumerate(zip(order, results, strict=True), start=1):
        name = source.names[index]
        if isinstance(result, Unreadable):
            if on_error == "fail":
                raise UserError(
                    f"{source.locate(name)}: cannot be read ({result.reason}); fix or remove it, "
                    "or import without --strict."
                )
            problems[name] = result.reason
        else:
            if result.lost_colours is not None:
                looked_at[result.lost_colours] += 1
            yield Sample(keys[index], result.image, plan.labels[name])
        if on_progress is not None:
            on_progress(done, total)
    if len(problems) == total:
        name, problem = next(iter(problems.items()))
        raise UserError(
            f"{source.locate(name)}: cannot be read ({problem}), and neither can the other "
            f"{total - 1} images; nothing to import."
        )
    source.unreadable |= problems
    source.unreadable = dict(
        sorted(source.unreadable.items(), key=lambda item: natural_order(item[0]))
    )


def _contents(source: Source, order: Sequence[int]) -> Iterator[Content | Unreadable]:
    for index in order:
        try:
            content: Content | Unreadable = source.content(index)
        except UserError as error:
            content = Unreadable(str(error))
        yield content


def _lost_colours(looked_at: Counter[bool]) -> str:
    """Return what a user should know of lost colours; nothing if there are none."""
    if not looked_at[True]:
        return ""
    return (
        f"colours: {looked_at[True]} of {looked_at.total()} images looked at have some, and became "
        "grey; --channels 3 keeps them"
    )


def _report_json(
    source: Source, plan: ImportPlan, duplicates: Duplicates, lost_colours: str, *, dropped: bool
) -> str:
    list_path = plan.validation_list
    report = {
        "source": source.kind,
        "classes": {"rule": plan.rule, "reason": plan.reason},
        "split_folders": [
            {"folder": name, "split": split, "images": count}
            for (name, split), count in plan.split_folders.items()
        ],
        "notes": [*source.notes, *plan.notes, *filter(None, [lost_colours])],
        "duplicates": {
            "distinct": duplicates.distinct,
            "equal_to_an_earlier_one": {split: duplicates.repeats[split] for split in SPLITS},
            "validation_equal_to_training": duplicates.across,
            "dropped": dropped,
            "examples": [{"image": key, "equals": first} for key, first in duplicates.examples],
        },
        "unreadable": [
            {"file": file, "reason": reason} for file, reason in source.unreadable.items()
        ],
        "ignored": dict(sorted(source.ignored.items())),
        "validation_list": display_path(list_path.name) if list_path else None,
        "validation_missing": list(plan.validation_missing),
    }
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"
