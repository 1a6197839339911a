"""Import of a folder of image files as a set of shards."""

import json
import random
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from gantrain.common.errors import UserError
from gantrain.common.pools import map_in_order
from gantrain.data.importing.convert import (
    FITS,
    MAX_MEGAPIXELS,
    Conversion,
    Fit,
    convert_image,
    parse_background,
)
from gantrain.data.importing.filenames import (
    display_path,
    find_validation_list,
    natural_order,
    unique_keys,
)
from gantrain.data.importing.labelling import ClassSetting
from gantrain.data.importing.listing import Listing, list_folder
from gantrain.data.importing.planning import ImportPlan, plan_labels
from gantrain.data.importing.splits import SplitSetting
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.staging import REPORT_NAME
from gantrain.data.shards.writer import write_shards


@dataclass(frozen=True)
class ImportReport:
    """The result of an import.

    manifest: the manifest of the set that was written.
    plan: the classes and splits, and how they were decided.
    unreadable: (file, reason) for each image that could not be read, in file order.
    ignored: number of files that are not images, by suffix ("" for none).
    """

    manifest: Manifest
    plan: ImportPlan
    unreadable: tuple[tuple[str, str], ...]
    ignored: dict[str, int]


@dataclass(frozen=True)
class _Converted:
    image: bytes = b""
    problem: str = ""


def import_folder(
    source: Path,
    target: Path,
    *,
    size: int = 64,
    channels: int = 1,
    background: str = "black",
    fit: Fit = "crop",
    max_megapixels: float = MAX_MEGAPIXELS,
    classes: ClassSetting = "auto",
    splits: SplitSetting = "auto",
    validation_list: Path | None = None,
    images_per_shard: int = 1000,
    on_error: Literal["report", "fail"] = "report",
    workers: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    on_plan: Callable[[ImportPlan], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Write the images of a folder and its subfolders as a set of shards at `target`.

    Classes and splits come from the names of files and folders (see `plan_labels`). The order of
    the images is shuffled by `seed`, so that each shard contains all classes. The same files give
    the same bytes. The report is also written to the target, as `import-report.json`.

    background, fit, max_megapixels: see `Conversion`; a colour as in `parse_background`.
    classes, splits: see `plan_labels`.
    on_error: "report" lists unreadable images in the report, "fail" stops at the first.
    workers: number of processes; None uses all available cores.
    validation_list: file with the names of the validation images, one per line; None uses the
        `validation.txt` in the source or its parent, if there is one.
    on_plan: called with the decisions before any image is read.
    on_progress: called in this process with (images done, total images).

    Raises UserError if the source is not a folder or contains no readable image, a setting is out
    of range or does not fit the images, or the target cannot be written (see `write_shards`).
    """
    if fit not in FITS:
        raise UserError(f"fit is {fit!r}; expected one of {', '.join(FITS)}.")
    conversion = Conversion(size, channels, parse_background(background), fit, max_megapixels)
    listing = list_folder(source)
    list_path = validation_list or find_validation_list(source)
    plan = plan_labels(listing.images, classes=classes, splits=splits, validation_list=list_path)
    if list_path is not None:
        if validation_list is not None and plan.validation_missing and not plan.validation_listed:
            raise UserError(
                f"{list_path}: none of its {len(plan.validation_missing)} lines names an image in "
                f"{source}; the first is {plan.validation_missing[0][:80]!r}."
            )
        _uncount_list(listing, source, list_path)
    if on_plan is not None:
        on_plan(plan)
    samples = _convert_all(
        listing,
        conversion,
        plan,
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
            source=f"{display_path(source.absolute().name)} (fit {fit}, background {background})",
            images_per_shard=images_per_shard,
            overwrite=overwrite,
            extra_files=lambda: {REPORT_NAME: _report_json(listing, plan)},
        )
    return ImportReport(
        manifest,
        plan,
        tuple(listing.unreadable.items()),
        dict(sorted(listing.ignored.items())),
    )


def _convert_all(
    listing: Listing,
    conversion: Conversion,
    plan: ImportPlan,
    *,
    seed: int,
    workers: int | None,
    on_error: Literal["report", "fail"],
    on_progress: Callable[[int, int], None] | None,
) -> Generator[Sample, None, None]:
    """Yield the samples in shuffled order; add the unreadable images to the listing."""
    keys = unique_keys(listing.images, names_tell=plan.rule == "name")
    work = list(zip(keys, listing.images.items(), strict=True))
    random.Random(seed).shuffle(work)
    paths = (path for _, (_, path) in work)
    problems: dict[str, str] = {}
    results = map_in_order(partial(_convert, conversion=conversion), paths, workers=workers)
    pairs = zip(work, results, strict=True)
    for done, ((key, (relative, path)), result) in enumerate(pairs, start=1):
        if result.problem:
            if on_error == "fail":
                raise UserError(
                    f"{path}: cannot be read ({result.problem}); fix or remove it, or import "
                    "without --strict."
                )
            problems[relative] = result.problem
        else:
            yield Sample(key, result.image, plan.labels[relative])
        if on_progress is not None:
            on_progress(done, len(work))
    if len(problems) == len(work):
        relative, problem = next(iter(problems.items()))
        raise UserError(
            f"{listing.images[relative]}: cannot be read ({problem}), and neither can the other "
            f"{len(work) - 1} images; nothing to import."
        )
    listing.unreadable |= problems
    listing.unreadable = dict(
        sorted(listing.unreadable.items(), key=lambda item: natural_order(item[0]))
    )


def _convert(path: Path, conversion: Conversion) -> _Converted:
    try:
        return _Converted(convert_image(path, conversion))
    except UserError as error:
        return _Converted(problem=str(error))


def _uncount_list(listing: Listing, source: Path, list_path: Path) -> None:
    if list_path.resolve().is_relative_to(source.resolve()):
        listing.ignored -= Counter({list_path.suffix.lower(): 1})


def _report_json(listing: Listing, plan: ImportPlan) -> str:
    list_path = plan.validation_list
    report = {
        "classes": {"rule": plan.rule, "reason": plan.reason},
        "split_folders": [
            {"folder": name, "split": split, "images": count}
            for (name, split), count in plan.split_folders.items()
        ],
        "notes": list(plan.notes),
        "unreadable": [
            {"file": file, "reason": reason} for file, reason in listing.unreadable.items()
        ],
        "ignored": dict(sorted(listing.ignored.items())),
        "validation_list": display_path(list_path.name) if list_path else None,
        "validation_missing": list(plan.validation_missing),
    }
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"
