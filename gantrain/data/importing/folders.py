"""Imports a folder of image files as a set of shards."""

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

from gantrain.common.errors import UserError
from gantrain.common.pools import map_in_order
from gantrain.data.importing.convert import (
    FITS,
    SUFFIXES,
    Fit,
    Recipe,
    convert_image,
    parse_background,
)
from gantrain.data.importing.filenames import (
    ValidationNames,
    find_validation_list,
    label_from_path,
    natural_order,
    read_validation_list,
    readable,
    unique_keys,
)
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.samples import Label, Sample
from gantrain.data.shards.staging import REPORT_NAME
from gantrain.data.shards.writer import write_shards


@dataclass(frozen=True)
class ImportReport:
    """What became of a folder's files.

    manifest: of the set that was written.
    unreadable: (file, reason) for each image that could not be read; in the files' order.
    ignored: how many files were passed over as no images, by suffix ("" for none).
    validation_list: the list that named the validation images, if there was one.
    validation_missing: lines of it that name no image in the folder.
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
class _Conversion:
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
    images_per_shard: int = 1000,
    on_error: Literal["report", "fail"] = "report",
    workers: int | None = None,
    validation_list: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Write the images of a folder and its subfolders as a set of shards at `target`.

    Labels come from the files' names, or from the folders that hold them (see `label_from_path`). The
    images are written in an order shuffled by `seed`, so that each shard holds all classes. The
    same files give the same bytes. `import-report.json` in the target repeats the report.

    background, fit: see `Recipe`; a colour as `parse_background` takes it.
    on_error: "report" names unreadable images in the report, "fail" stops at the first.
    workers: processes; None takes all usable cores.
    validation_list: names the images of the validation split, one a line; None takes the
        `validation.txt` in the source or beside it, if there is one.
    on_progress: called in this process with (images done, images in all).

    Raises UserError if the source is no folder or holds no readable image, a setting is out of
    its range, or the target cannot be written (see `write_shards`).
    """
    if fit not in FITS:
        raise UserError(f"fit is {fit!r}; expected one of {', '.join(FITS)}.")
    recipe = Recipe(size, channels, parse_background(background), fit)
    listing = _list_folder(source)
    if not listing.images:
        raise UserError(_no_images(source, listing))
    list_path = validation_list or find_validation_list(source)
    names = ValidationNames(frozenset(), ())
    if list_path is not None:
        names = read_validation_list(list_path, listing.images)
        _forget_list(listing, source, list_path)

    def report() -> dict[str, str]:
        return {REPORT_NAME: _report_json(listing, list_path, names)}

    conversions = _convert_all(
        listing, recipe, names, seed=seed, workers=workers, on_error=on_error, tell=on_progress
    )
    with closing(conversions):
        manifest = write_shards(
            target,
            conversions,
            size=size,
            channels=channels,
            source=f"{readable(source.absolute().name)} (fit {fit}, background {background})",
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
    recipe: Recipe,
    names: ValidationNames,
    *,
    seed: int,
    workers: int | None,
    on_error: Literal["report", "fail"],
    tell: Callable[[int, int], None] | None,
) -> Generator[Sample, None, None]:
    """Yield the samples in a shuffled order; adds the unreadable images to the listing."""
    work = list(zip(unique_keys(listing.images), listing.images.items(), strict=True))
    random.Random(seed).shuffle(work)
    paths = (path for _, (_, path) in work)
    problems: dict[str, str] = {}
    conversions = map_in_order(partial(_convert, recipe=recipe), paths, workers=workers)
    pairs = zip(work, conversions, strict=True)
    for done, ((key, (relative, path)), conversion) in enumerate(pairs, start=1):
        if conversion.problem:
            if on_error == "fail":
                raise UserError(
                    f"{path}: cannot be read ({conversion.problem}); mend or remove it, or import "
                    "without --strict."
                )
            problems[relative] = conversion.problem
        else:
            yield Sample(key, conversion.image, _label(relative, names))
        if tell is not None:
            tell(done, len(work))
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


def _convert(path: Path, recipe: Recipe) -> _Conversion:
    try:
        return _Conversion(convert_image(path, recipe))
    except UserError as error:
        return _Conversion(problem=str(error))


def _label(relative: str, names: ValidationNames) -> Label:
    split = "validation" if relative in names.chosen else "train"
    return {**label_from_path(relative), "split": split}


def _list_folder(source: Path) -> _Listing:
    """Sort a folder's files into images, in natural order, and others; links are followed."""
    if not source.is_dir():
        state = "not a folder" if source.exists() else "no such folder"
        raise UserError(f"{source}: {state}; expected a folder of images.")
    listing = _Listing()
    seen = {_identity(source)}
    images: dict[str, Path] = {}

    def tell(error: OSError) -> None:
        relative = readable(Path(error.filename).relative_to(source))
        listing.unreadable[f"{relative}/"] = f"folder: {error.strerror or error}"

    for folder, subfolders, files in os.walk(source, onerror=tell, followlinks=True):
        subfolders[:] = _new_folders(Path(folder), subfolders, seen)
        for name in files:
            path = Path(folder, name)
            if _is_image(path):
                relative = readable(path.relative_to(source))
                while relative in images:  # their names differ in bytes that are no text
                    relative += "\ufffd"
                images[relative] = path
            else:
                listing.ignored[path.suffix.lower()] += 1
    listing.images = {name: images[name] for name in sorted(images, key=natural_order)}
    return listing


def _new_folders(folder: Path, names: list[str], seen: set[tuple[int, int]]) -> list[str]:
    new = []
    for name in sorted(names):
        if name.startswith("."):  # caches, version control, half-written sets
            continue
        try:
            identity = _identity(folder / name)
        except OSError:  # os.walk will tell
            new.append(name)
            continue
        if identity not in seen:  # else a link leads back to where the walk has been
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
        return stat.S_ISREG(path.stat().st_mode)  # a pipe would never end
    except OSError:
        return True  # a broken link was meant to be one, and will be named as unreadable


def _forget_list(listing: _Listing, source: Path, list_path: Path) -> None:
    if list_path.resolve().is_relative_to(source.resolve()):
        listing.ignored -= Counter({list_path.suffix.lower(): 1})


def _no_images(source: Path, listing: _Listing) -> str:
    found = f"{listing.ignored.total()} other files" if listing.ignored else "no files"
    if listing.unreadable:
        folder, problem = next(iter(listing.unreadable.items()))
        found += f", and could not list {folder} ({problem})"
    return f"{source}: found no images but {found}; expected {', '.join(sorted(SUFFIXES))}."


def _report_json(listing: _Listing, list_path: Path | None, names: ValidationNames) -> str:
    report = {
        "unreadable": [
            {"file": file, "reason": reason} for file, reason in listing.unreadable.items()
        ],
        "ignored": dict(sorted(listing.ignored.items())),
        "validation_list": readable(list_path.name) if list_path else None,
        "validation_missing": list(names.missing),
    }
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"
