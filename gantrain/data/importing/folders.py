"""Import of a folder of image files as a set of shards."""

import json
import os
import random
import stat
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from gantrain.common.errors import UserError, os_reason
from gantrain.common.pools import map_in_order
from gantrain.data.importing.convert import (
    FITS,
    MAX_MEGAPIXELS,
    SUFFIXES,
    Conversion,
    Fit,
    convert_image,
    parse_background,
)
from gantrain.data.importing.filenames import (
    ValidationNames,
    display_path,
    find_validation_list,
    label_from_path,
    natural_order,
    read_validation_list,
    unique_keys,
)
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.samples import Label, Sample
from gantrain.data.shards.staging import REPORT_NAME
from gantrain.data.shards.writer import write_shards


@dataclass(frozen=True)
class ImportReport:
    """The result of an import.

    manifest: the manifest of the set that was written.
    unreadable: (file, reason) for each image that could not be read, in file order.
    ignored: number of files that are not images, by suffix ("" for none).
    validation_list: the list that names the validation images, if there is one.
    validation_missing: lines of the list that name no image in the folder.
    """

    manifest: Manifest
    unreadable: tuple[tuple[str, str], ...]
    ignored: dict[str, int]
    validation_list: Path | None
    validation_missing: tuple[str, ...]


@dataclass
class _Listing:
    images: dict[str, Path] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)


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
    images_per_shard: int = 1000,
    on_error: Literal["report", "fail"] = "report",
    workers: int | None = None,
    validation_list: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Write the images of a folder and its subfolders as a set of shards at `target`.

    Labels come from the file names, or from the folders that contain the files (see
    `label_from_path`). The order of the images is shuffled by `seed`, so that each shard contains
    all classes. The same files give the same bytes. The report is also written to the target, as
    `import-report.json`.

    background, fit, max_megapixels: see `Conversion`; a colour as in `parse_background`.
    on_error: "report" lists unreadable images in the report, "fail" stops at the first.
    workers: number of processes; None uses all available cores.
    validation_list: file with the names of the validation images, one per line; None uses the
        `validation.txt` in the source or its parent, if there is one.
    on_progress: called in this process with (images done, total images).

    Raises UserError if the source is not a folder or contains no readable image, a setting is out
    of range, or the target cannot be written (see `write_shards`).
    """
    if fit not in FITS:
        raise UserError(f"fit is {fit!r}; expected one of {', '.join(FITS)}.")
    conversion = Conversion(size, channels, parse_background(background), fit, max_megapixels)
    listing = _list_folder(source)
    if not listing.images:
        raise UserError(_no_images(source, listing))
    list_path = validation_list or find_validation_list(source)
    names = ValidationNames(frozenset(), ())
    if list_path is not None:
        names = read_validation_list(list_path, listing.images)
        if validation_list is not None and names.missing and not names.chosen:
            raise UserError(
                f"{list_path}: none of its {len(names.missing)} lines names an image in {source}; "
                f"the first is {names.missing[0][:80]!r}."
            )
        _uncount_list(listing, source, list_path)

    def report() -> dict[str, str]:
        return {REPORT_NAME: _report_json(listing, list_path, names)}

    samples = _convert_all(
        listing,
        conversion,
        names,
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
            extra_files=report,
        )
    return ImportReport(
        manifest,
        tuple(listing.unreadable.items()),
        dict(sorted(listing.ignored.items())),
        list_path,
        names.missing,
    )


def _convert_all(
    listing: _Listing,
    conversion: Conversion,
    names: ValidationNames,
    *,
    seed: int,
    workers: int | None,
    on_error: Literal["report", "fail"],
    on_progress: Callable[[int, int], None] | None,
) -> Generator[Sample, None, None]:
    """Yield the samples in shuffled order; add the unreadable images to the listing."""
    work = list(zip(unique_keys(listing.images), listing.images.items(), strict=True))
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
            yield Sample(key, result.image, _label(relative, names))
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


def _label(relative: str, names: ValidationNames) -> Label:
    split = "validation" if relative in names.chosen else "train"
    return {**label_from_path(relative), "split": split}


def _list_folder(source: Path) -> _Listing:
    """List a folder's images, in natural order, and count its other files; follow links."""
    if not source.is_dir():
        state = "not a folder" if source.exists() else "no such folder"
        raise UserError(f"{source}: {state}; expected a folder of images.")
    listing = _Listing()
    seen = {_identity(source)}
    images: dict[str, Path] = {}

    def record_error(error: OSError) -> None:
        relative = display_path(Path(error.filename).relative_to(source))
        listing.unreadable[f"{relative}/"] = f"folder: {os_reason(error)}"

    for folder, subfolders, files in os.walk(source, onerror=record_error, followlinks=True):
        subfolders[:] = _new_folders(Path(folder), subfolders, seen)
        for name in files:
            path = Path(folder, name)
            if _is_image(path):
                relative = display_path(path.relative_to(source))
                while relative in images:  # names that differ only in undecodable bytes
                    relative += "\ufffd"
                images[relative] = path
            else:
                listing.ignored[path.suffix.lower()] += 1
    listing.images = {name: images[name] for name in sorted(images, key=natural_order)}
    return listing


def _new_folders(folder: Path, names: list[str], seen: set[tuple[int, int]]) -> list[str]:
    new = []
    for name in sorted(names):
        if name.startswith("."):  # caches, version control, incomplete sets
            continue
        try:
            identity = _identity(folder / name)
        except OSError:  # os.walk reports it
            new.append(name)
            continue
        if identity not in seen:  # otherwise a link leads back to a visited folder
            seen.add(identity)
            new.append(name)
    return new


def _identity(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_dev, state.st_ino


def _is_image(path: Path) -> bool:
    if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
        return False
    try:
        return stat.S_ISREG(path.stat().st_mode)  # reading a pipe would block
    except OSError:
        return True  # a broken link is reported as unreadable


def _uncount_list(listing: _Listing, source: Path, list_path: Path) -> None:
    if list_path.resolve().is_relative_to(source.resolve()):
        listing.ignored -= Counter({list_path.suffix.lower(): 1})


def _no_images(source: Path, listing: _Listing) -> str:
    details = f"{listing.ignored.total()} other files"
    if listing.unreadable:
        folder, problem = next(iter(listing.unreadable.items()))
        details += f", and {folder} could not be listed ({problem})"
    return f"{source}: contains no images ({details}); expected {', '.join(sorted(SUFFIXES))}."


def _report_json(listing: _Listing, list_path: Path | None, names: ValidationNames) -> str:
    report = {
        "unreadable": [
            {"file": file, "reason": reason} for file, reason in listing.unreadable.items()
        ],
        "ignored": dict(sorted(listing.ignored.items())),
        "validation_list": display_path(list_path.name) if list_path else None,
        "validation_missing": list(names.missing),
    }
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"
