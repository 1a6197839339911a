"""Makes a set of tars by other tools trainable in place: an index beside each, and a manifest."""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from gantrain.common.errors import UserError, os_reason
from gantrain.common.files import replacing, unwritable_reason
from gantrain.common.pools import map_in_order, usable_cores
from gantrain.data.images.convert import Conversion, read_image
from gantrain.data.importing.labelling import ClassSetting
from gantrain.data.importing.planning import ImportPlan, plan_labels
from gantrain.data.importing.splits import SplitSetting
from gantrain.data.importing.tar_scan import ScanOptions, TarScan, scan_tar
from gantrain.data.importing.tars import TarSet, gather
from gantrain.data.shards.image_index import NO_CLASS, ImageIndex
from gantrain.data.shards.manifest import (
    MANIFEST_NAME,
    ConversionEntry,
    Manifest,
    ShardEntry,
    load_manifest,
)
from gantrain.data.shards.samples import Label, class_of, split_of
from gantrain.data.shards.staging import single_writer, write_errors
from gantrain.data.shards.tally import Tally

_IMAGES_PER_TASK = 64


@dataclass(frozen=True)
class IndexReport:
    """The result of indexing.

    unreadable: (tar and member, reason) for each image or label that could not be read.
    ignored: number of members that are not the images of samples, by extension.
    """

    manifest: Manifest
    plan: ImportPlan
    unreadable: tuple[tuple[str, str], ...]
    ignored: dict[str, int]


class _Scanned(NamedTuple):
    scan: TarScan
    bytes: int
    sha256: str


class _Section(NamedTuple):
    """Images of one tar: offset and length of each."""

    path: Path
    ranges: list[tuple[int, int]]


class _Checked(NamedTuple):
    """An image that was read: its CRC-32, and why it cannot be used; "" if it can."""

    crc32: int
    problem: str


def index_tars(
    tars: Sequence[Path],
    conversion: Conversion,
    *,
    options: ScanOptions,
    classes: ClassSetting = "auto",
    class_names: Sequence[str] = (),
    splits: SplitSetting = "auto",
    workers: int | None = None,
    overwrite: bool = False,
    on_scan: Callable[[int, int], None] | None = None,
    on_plan: Callable[[TarSet, ImportPlan], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> IndexReport:
    """Write a manifest for tars, and an index of each, into their folder.

    tars: of one folder, not compressed; see `find_tars`.
    conversion: what each image becomes when it is decoded. Every image is converted once here; what
        cannot be read is left out.
    classes, class_names, splits: see `plan_labels`.
    workers: number of processes; None uses all available cores.
    overwrite: replace an existing manifest.
    on_scan: called in this process after each tar with (tars scanned, total tars).
    on_plan: called with the images found and the decisions before any image is read.
    on_progress: called in this process with (images done, total images).

    The tars stay as they are. Equal tars give equal files.

    Raises UserError if a tar cannot be read, no image can, a setting does not fit the tars, there
    is a manifest, or the folder cannot be written. Then it is as it was.
    """
    options = replace(options, read_labels=classes in ("auto", "label"))
    folder = tars[0].parent
    _check_folder(folder, overwrite)
    with single_writer(folder / MANIFEST_NAME):
        scanned = _scan_all(tars, options, workers, on_scan)
        found = gather([each.scan for each in scanned], options)
        plan = plan_labels(
            found.names,
            classes=classes,
            class_names=class_names,
            splits=splits,
            stated=found.labels,
        )
        if on_plan is not None:
            on_plan(found, plan)
        checked = _check_images(found, conversion, workers, on_progress)
        manifest, indexes = _describe(scanned, found, plan, checked, conversion)
        _write(folder, manifest, indexes)
    return IndexReport(
        manifest, plan, tuple(found.unreadable.items()), dict(sorted(found.ignored.items()))
    )


def _check_folder(folder: Path, overwrite: bool) -> None:
    path = folder / MANIFEST_NAME
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists already; replace it with --overwrite.")
    reason = unwritable_reason(path)
    if reason is not None:
        raise UserError(
            f"{path}: {reason}, but the manifest has to be beside the tars. Make a folder of links "
            "to them (ln -s) where you can write, and index that."
        )


def _scan_all(
    tars: Sequence[Path],
    options: ScanOptions,
    workers: int | None,
    on_scan: Callable[[int, int], None] | None,
) -> list[_Scanned]:
    workers = min(workers or usable_cores(), len(tars))
    scanned = []
    for each in map_in_order(partial(_scan_and_hash, options=options), tars, workers=workers):
        scanned.append(each)
        if on_scan is not None:
            on_scan(len(scanned), len(tars))
    return scanned


def _scan_and_hash(path: Path, options: ScanOptions) -> _Scanned:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            length = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({os_reason(error)}).") from None
    return _Scanned(scan_tar(path, options), length, digest)


def _check_images(
    found: TarSet,
    conversion: Conversion,
    workers: int | None,
    on_progress: Callable[[int, int], None] | None,
) -> list[_Checked]:
    """Read every image; add those that cannot be used to `found.unreadable`."""
    checked: list[_Checked] = []
    task = partial(_check_section, conversion=conversion)
    for results in map_in_order(task, _sections(found), workers=workers):
        checked += results
        if on_progress is not None:
            on_progress(len(checked), len(found.images))
    for tar, image, result in zip(found.tars, found.images, checked, strict=True):
        if result.problem:
            found.unreadable[f"{found.paths[tar].name}/{image.name}"] = result.problem
    if all(result.problem for result in checked):
        name, reason = next(iter(found.unreadable.items()))
        raise UserError(
            f"{found.paths[0].parent / name}: cannot be read ({reason}), and neither can the other "
            f"{len(checked) - 1} images; nothing to index."
        )
    return checked


def _sections(found: TarSet) -> Iterator[_Section]:
    section: _Section | None = None
    for tar, image in zip(found.tars, found.images, strict=True):
        path = found.paths[tar]
        if section is not None and (
            section.path != path or len(section.ranges) == _IMAGES_PER_TASK
        ):
            yield section
            section = None
        section = section or _Section(path, [])
        section.ranges.append((image.offset, image.length))
    if section is not None:
        yield section


def _check_section(section: _Section, conversion: Conversion) -> list[_Checked]:
    checked = []
    try:
        with section.path.open("rb") as file:
            for offset, length in section.ranges:
                content = os.pread(file.fileno(), length, offset)
                try:
                    read_image(content, conversion)
                    problem = ""
                except UserError as error:
                    problem = str(error)
                checked.append(_Checked(zlib.crc32(content), problem))
    except OSError as error:
        raise UserError(f"{section.path}: cannot be read ({os_reason(error)}).") from None
    return checked


def _describe(
    scanned: Sequence[_Scanned],
    found: TarSet,
    plan: ImportPlan,
    checked: Sequence[_Checked],
    conversion: Conversion,
) -> tuple[Manifest, dict[str, bytes]]:
    """Return the manifest, and the content of each index by file name."""
    tally = Tally()
    rows: list[list[int]] = [[] for _ in scanned]
    for i, (tar, name) in enumerate(zip(found.tars, found.names, strict=True)):
        if not checked[i].problem:
            tally.add(name, plan.labels[name])
            rows[tar].append(i)
    entries: list[ShardEntry] = []
    indexes: dict[str, bytes] = {}
    for each, usable in zip(scanned, rows, strict=True):
        if not usable:
            name = each.scan.path.name
            found.unreadable.setdefault(name, "no image in it can be used; not in the manifest")
            continue
        content = _index(found, plan, checked, usable).to_bytes()
        entry = ShardEntry(
            name=each.scan.path.name,
            count=len(usable),
            bytes=each.bytes,
            sha256=each.sha256,
            index=hashlib.sha256(content).hexdigest(),
        )
        entries.append(entry)
        indexes[entry.index_name] = content
    channels: Literal[1, 3] = 1 if conversion.channels == 1 else 3
    more = f" and {len(entries) - 1} more tars" if len(entries) > 1 else ""
    manifest = tally.manifest(
        source=f"{entries[0].name}{more}",
        size=conversion.size,
        channels=channels,
        shards=entries,
        conversion=ConversionEntry(
            fit=conversion.fit,
            background=conversion.background,
            max_megapixels=conversion.max_megapixels,
        ),
    )
    return manifest, indexes


def _index(
    found: TarSet, plan: ImportPlan, checked: Sequence[_Checked], rows: Sequence[int]
) -> ImageIndex:
    images = [found.images[i] for i in rows]
    labels: list[Label] = [plan.labels[found.names[i]] for i in rows]
    classes = sorted({class_of(label) for label in labels if "part" in label})
    number = {key: i for i, (key, _) in enumerate(classes)}
    return ImageIndex(
        ranges=np.array([(image.offset, image.length) for image in images], np.int64),
        crc32=np.array([checked[i].crc32 for i in rows], np.uint32),
        class_index=np.array(
            [number[class_of(each)[0]] if "part" in each else NO_CLASS for each in labels],
            np.int64,
        ),
        held_out=np.array([split_of(label) == "validation" for label in labels], np.bool_),
        classes=tuple(classes),
        encoded_names="\n".join(image.name for image in images).encode(),
    )


def _write(folder: Path, manifest: Manifest, indexes: dict[str, bytes]) -> None:
    """Write the files; all of them appear at the very end, the manifest last."""
    before: set[str] = set()
    with suppress(UserError):
        before = {entry.index_name for entry in load_manifest(folder).shards if entry.index}
    contents = {MANIFEST_NAME: manifest.to_json().encode(), **indexes}
    with write_errors(folder), ExitStack() as stack:  # which ends its contexts in reverse order
        for name, content in contents.items():
            stack.enter_context(replacing(folder / name)).write_bytes(content)
    for name in before - indexes.keys():
        with suppress(OSError):
            (folder / name).unlink()
