"""Webdataset tars by other tools, such as img2dataset, as one set of images."""

import random
import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

from gantrain.common.errors import UserError
from gantrain.common.pools import map_in_order, usable_cores
from gantrain.data.importing.filenames import natural_order
from gantrain.data.importing.sources import (
    Content,
    FileRange,
    Source,
    SourceOptions,
    StatedLabels,
)
from gantrain.data.importing.splits import customary_split
from gantrain.data.importing.tar_images import IMAGE_EXTENSIONS
from gantrain.data.importing.tar_labels import SPLIT, choose_field, classes_in
from gantrain.data.importing.tar_scan import (
    ScanOptions,
    TarImage,
    TarScan,
    read_images,
    scan_tar,
)

_NAME = re.compile(r".+\.(tar|tar\.gz|tgz|tar\.bz2|tbz2?|tar\.xz|txz)", re.IGNORECASE | re.DOTALL)
_MAGIC_OFFSET, _MAGIC = 257, b"ustar"
_WORDS = re.compile(r"[\W_]+")
_MAX_SHOWN = 6


@dataclass
class TarSet:
    """The images of several tars.

    images, tars: each image, and the index of its tar.
    names: path-like and unique: the member's, in a folder of its split if the sample's JSON or the
        tar's name states one.
    labels: the classes that the samples state; None if they state none.
    ignored: number of members that are not the images of samples, by extension.
    unreadable: reasons, by tar and member.
    notes: what a user should know, one sentence each.
    """

    paths: list[Path]
    images: list[TarImage] = field(default_factory=list)
    tars: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: StatedLabels | None = None
    ignored: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def has_name(name: str) -> bool:
    """Return whether a file's name is that of a tar, compressed or not."""
    return _NAME.fullmatch(name) is not None


def has_head(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is a tar that is not compressed."""
    return head[_MAGIC_OFFSET:].startswith(_MAGIC)


def open_tars(path: Path, files: Sequence[Path], options: SourceOptions) -> Source:
    """Open webdataset tars, compressed or not; see `tar_scan`.

    options: `image_column` is the extension of the images, `label_column` that of the members, or
        the key of the JSON, that state the classes.

    Images of compressed tars keep their order: there is no random access to them.

    Raises UserError if a tar cannot be read, no sample has an image, or none has such a label.
    """
    scan_options = ScanOptions(options.image_column, options.label_column, options.read_labels)
    files = sorted(files, key=lambda file: natural_order(str(file)))
    workers = min(usable_cores(), len(files))
    scans = list(map_in_order(partial(scan_tar, options=scan_options), files, workers=workers))
    found = gather(scans, scan_options)
    source = Source(
        path,
        f"webdataset tars ({_some([file.name for file in files])})",
        found.names,
        content=lambda index: _range(found, index),
        labels=found.labels,
        ignored=found.ignored,
        unreadable=found.unreadable,
        notes=found.notes,
    )
    if any(scan.compression for scan in scans):
        contents = _contents(found)
        source.resources.callback(contents.close)
        source.content = lambda _: _valid(next(contents))
        source.order = _unshuffled
        source.notes.append("The images keep their order, because the tars are compressed.")
    return source


def gather(scans: Sequence[TarScan], options: ScanOptions) -> TarSet:
    """Put the images of several tars together, with their names, classes and notes.

    Raises UserError if there are none, or if no sample has the label that the options ask for.
    """
    found = TarSet([scan.path for scan in scans])
    for index, scan in enumerate(scans):
        if not scan.chosen and not scan.damage and len(scans) == 1:
            raise UserError(_no_images(scan, options))
        found.images += scan.images
        found.tars += [index] * len(scan.images)
        found.unreadable |= {f"{scan.path.name}/{m}": why for m, why in scan.unreadable.items()}
        if scan.damage:
            found.unreadable[scan.path.name] = scan.damage
        found.ignored.update({f".{name}": count for name, count in scan.others.items()})
    if not found.images:
        raise UserError(_nothing_usable(scans, found, options))
    folders = [_split_word(scan.path.name) for scan in scans]
    found.names = _unique(
        "/".join(filter(None, (str(image.stated.get(SPLIT, folders[tar])), image.name)))
        for tar, image in zip(found.tars, found.images, strict=True)
    )
    found.notes += _notes(scans)
    if options.read_labels:
        _find_labels(found, scans, options)
    return found


def _find_labels(found: TarSet, scans: Sequence[TarScan], options: ScanOptions) -> None:
    chosen = choose_field((image.stated for image in found.images), options.label)
    if chosen is None:
        if options.label is not None:
            raise UserError(_no_label(scans, options.label))
        return
    classes, invalid = classes_in([image.stated for image in found.images], chosen)
    if invalid:
        where, shown = next(iter(invalid.items()))
        sentence = (
            f"{len(invalid)} of {len(classes)} labels `{chosen}` are neither names nor integers, "
            f"such as that of {found.names[where]}: {shown}"
        )
        if len(invalid) == len(classes) and options.label is not None:
            raise UserError(f"{found.paths[0]}: {sentence}. Choose another label.")
        found.notes.append(f"{sentence}; these images have no class.")
    if any(name is not None for name in classes):
        found.labels = StatedLabels(classes, f"`{chosen}` of the samples")


def _notes(scans: Sequence[TarScan]) -> Iterator[str]:
    chosen, aside, passed_over = Counter[str](), Counter[str](), Counter[str]()
    for scan in scans:
        chosen.update(scan.chosen)
        aside.update(scan.aside)
        passed_over.update({kind: n for kind, n in scan.passed_over.items() if kind != "folders"})
    if len(chosen) > 1 or aside:
        text = f"The images are the members {_counts(chosen)}"
        yield f"{text}; left aside in the same samples: {_counts(aside)}." if aside else f"{text}."
    if without := sum(scan.without_image for scan in scans):
        yield f"{without} samples have no image and are left out."
    if repeated := sum(scan.repeated for scan in scans):
        yield f"{repeated} images have the key of an earlier one in the same tar; all are used."
    if apart := sum(scan.apart for scan in scans):
        yield (
            f"{apart} times the members of a sample are apart in its tar, so that they count as "
            "several samples; webdataset expects neighbours (GNU tar: --sort=name)."
        )
    if passed_over:
        yield f"Passed over: {', '.join(f'{n} {kind}' for kind, n in passed_over.items())}."


def _split_word(name: str) -> str:
    """Return the word of a tar's name that stands for a split, such as `val`, or ""."""
    words = _WORDS.split(name.partition(".")[0])
    return next((word for word in words if customary_split(word) is not None), "")


def _unique(names: Iterable[str]) -> list[str]:
    taken: dict[str, int] = {}
    unique = []
    for name in names:
        distinct = name
        while distinct in taken:
            taken[name] += 1
            stem, dot, extension = name.rpartition(".")
            distinct = f"{stem}-{taken[name]}{dot}{extension}"
        taken[distinct] = 1
        unique.append(distinct)
    return unique


def _range(found: TarSet, index: int) -> Content:
    image = found.images[index]
    return FileRange(found.paths[found.tars[index]], image.offset, image.length)


def _contents(found: TarSet) -> Generator[bytes | UserError, None, None]:
    """Yield the images of compressed tars, in their order."""
    for tar, images in groupby(
        zip(found.tars, found.images, strict=True), key=lambda pair: pair[0]
    ):
        yield from read_images(found.paths[tar], [image.offset for _, image in images])


def _valid(content: bytes | UserError) -> bytes:
    if isinstance(content, UserError):
        raise content
    return content


def _unshuffled(count: int, _: random.Random) -> list[int]:
    return list(range(count))


def _no_images(scan: TarScan, options: ScanOptions) -> str:
    if not scan.without_image:
        kinds = ", ".join(f"{n} {kind}" for kind, n in scan.passed_over.items()) or "nothing"
        return f"{scan.path}: a tar without samples; it contains {kinds}."
    wanted = options.image or ", ".join(IMAGE_EXTENSIONS[:4])
    return (
        f"{scan.path}: none of its {scan.without_image} samples has an image; expected members "
        f"named KEY.EXTENSION with {wanted} and the like, but there are {_counts(scan.others)}."
    )


def _nothing_usable(scans: Sequence[TarScan], found: TarSet, options: ScanOptions) -> str:
    if not found.unreadable:
        more = f" Neither has any sample of the other {len(scans) - 1} tars."
        return _no_images(scans[0], options) + (more if len(scans) > 1 else "")
    name, reason = next(iter(found.unreadable.items()))
    return (
        f"{scans[0].path.parent / name}: {reason}; no image can be read "
        f"({len(found.unreadable)} problems in {len(scans)} tars)."
    )


def _no_label(scans: Sequence[TarScan], label: str) -> str:
    keys = sorted({key for scan in scans for key in scan.keys})
    extensions: Counter[str] = Counter()
    for scan in scans:
        extensions.update(scan.others)
    return (
        f"{scans[0].path}: no sample has a member or a JSON key {label!r}; there are members "
        f"{_counts(extensions)} and keys {_some(keys)}."
    )


def _counts(counter: Counter[str]) -> str:
    return _some([f"{name} {count}" for name, count in counter.most_common()])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return (", ".join(names[:_MAX_SHOWN]) + more) or "none"
