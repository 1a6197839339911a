"""Which kind of source a path is: by what a folder contains, a file's name, or its first bytes."""

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gantrain.common.errors import UserError, os_reason
from gantrain.data.images.convert import SUFFIXES
from gantrain.data.importing import arrays, cifar, idx, parquet, tars, zips
from gantrain.data.importing.folders import open_folder
from gantrain.data.importing.listing import Listing, count_suffixes, list_folder
from gantrain.data.importing.sources import Source, SourceOptions

_HEAD_BYTES = 1024
_BOTH = ("image_column", "label_column")
_PARQUET, _TARS = "Parquet", "webdataset tar"


@dataclass(frozen=True)
class Kind:
    """A kind of source that consists of files.

    name: for display.
    has_name: whether a file's name is one of this kind; files in folders are found by it.
    has_head: whether the first 1,024 bytes of a file are of this kind; this counts before the name.
    open: of (path of the source, files of this kind in natural order, options). The path is that
        of a folder, or equal to the only file. Raises UserError.
    columns: which of the options `image_column` and `label_column` it takes.
    """

    name: str
    has_name: Callable[[str], bool]
    has_head: Callable[[bytes], bool]
    open: Callable[[Path, Sequence[Path], SourceOptions], Source]
    columns: tuple[str, ...] = ()


KINDS: tuple[Kind, ...] = (
    Kind("IDX", idx.has_name, idx.has_head, idx.open_idx),
    Kind("NumPy", arrays.has_name, arrays.has_head, arrays.open_arrays, _BOTH),
    Kind("CIFAR", cifar.has_name, cifar.has_head, cifar.open_cifar, _BOTH[1:]),
    Kind(_PARQUET, parquet.has_name, parquet.has_head, parquet.open_parquet, _BOTH),
    Kind("zip", zips.has_name, zips.has_head, zips.open_archive),
    Kind(_TARS, tars.has_name, tars.has_head, tars.open_tars, _BOTH),
)


def open_source(path: Path, options: SourceOptions | None = None) -> Source:
    """Open the images at a path, whatever kind they are.

    A folder with image files, in it or in its subfolders, is a folder of images, whatever else it
    contains. Other folders are searched for files of the other kinds.

    Raises UserError if there is nothing of a known kind, files of several kinds, or an option that
    is not for the kind, and what the functions that open a kind raise.
    """
    options = options or SourceOptions()
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            return _open_folder(path, options)
        kind = _kind_of_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file or folder; expected {_expected()}.") from None
    except OSError as error:
        raise UserError(f"{path}: {os_reason(error)}; expected {_expected()}.") from None
    _check_options(path, kind.name, kind.columns, options)
    return kind.open(path, [path], options)


def _open_folder(path: Path, options: SourceOptions) -> Source:
    listing = list_folder(path)
    found = {
        kind.name: (kind, files)
        for kind in KINDS
        if (files := [other for other in listing.others if _is_of(kind, other)])
    }
    _drop_companions(found)
    if listing.images:
        _check_options(path, "folder of image files", (), options)
        source = open_folder(path, listing, options)
        for name, (_, files) in found.items():
            source.notes.append(
                f"Ignored: {len(files)} {name} files, such as {_relative(files[0], path)}; to "
                "import them, give their own folder or one of them."
            )
        return source
    if not found:
        raise UserError(_no_images(path, listing))
    if len(found) > 1:
        examples = [f"{_relative(files[0], path)} ({name})" for name, (_, files) in found.items()]
        raise UserError(
            f"{path}: contains files of several kinds: {', '.join(examples)}; give one file, or a "
            "folder with files of one kind."
        )
    ((kind, files),) = found.values()
    _check_options(path, kind.name, kind.columns, options)
    source = kind.open(path, files, options)
    source.ignored += listing.ignored() - count_suffixes(files)
    source.unreadable = listing.unreadable | source.unreadable
    return source


def _check_options(path: Path, kind: str, columns: Sequence[str], options: SourceOptions) -> None:
    for name in _BOTH:
        if getattr(options, name) is not None and name not in columns:
            option = f"--{name.replace('_', '-')}"
            takers = ", ".join(each.name for each in KINDS if name in each.columns)
            raise UserError(f"{path}: {option} is for {takers}; this is: {kind}. Leave it out.")


def _drop_companions(found: dict[str, tuple[Kind, list[Path]]]) -> None:
    """Remove the Parquet files that img2dataset writes beside tars: they describe the samples."""
    if _TARS not in found or _PARQUET not in found:
        return
    stems = {file.with_suffix("") for file in found[_TARS][1]}
    kind, tables = found.pop(_PARQUET)
    if others := [table for table in tables if table.with_suffix("") not in stems]:
        found[_PARQUET] = (kind, others)


def _is_of(kind: Kind, path: Path) -> bool:
    return not path.name.startswith(".") and kind.has_name(path.name) and path.is_file()


def _relative(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder))


def _kind_of_file(path: Path) -> Kind:
    if not stat.S_ISREG(path.stat().st_mode):
        raise UserError(f"{path}: not a regular file; expected {_expected()}.")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise UserError(f"{path}: an empty file; expected {_expected()}.")
    for kind in KINDS:
        if kind.has_head(head):
            return kind
    for kind in KINDS:
        if kind.has_name(path.name):
            return kind
    if path.suffix.lower() in SUFFIXES:
        raise UserError(f"{path}: one image; give the folder that contains the images.")
    raise UserError(f"{path}: of no known kind; expected {_expected()}.")


def _expected() -> str:
    return f"a folder of image files, or files of one of the kinds {_kinds()}"


def _kinds() -> str:
    return ", ".join(kind.name for kind in KINDS)


def _no_images(path: Path, listing: Listing) -> str:
    details = f"{len(listing.others)} other files"
    if listing.unreadable:
        folder, problem = next(iter(listing.unreadable.items()))
        details += f", and {folder} could not be listed ({problem})"
    return (
        f"{path}: contains no images ({details}); expected {', '.join(sorted(SUFFIXES))}, or files "
        f"of one of the kinds {_kinds()}."
    )
