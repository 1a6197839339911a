"""Parquet files with a column of images, as on the Hugging Face Hub.

A column of images is binary, or a struct of `bytes` and `path`; it contains encoded images. The
names of classes are in the schema's metadata (`huggingface`). Row groups are read one window at a
time, so that the order is random in memory that is bounded.
"""

import random
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantrain.common.errors import UserError
from gantrain.common.extras import missing_packages
from gantrain.data.importing.columns import Columns, choose_columns
from gantrain.data.importing.rows import numbered_names
from gantrain.data.importing.sources import MAX_IN_MEMORY, Source, SourceOptions, StatedLabels
from gantrain.data.importing.splits import customary_split

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_MAGIC = b"PAR1"
_WINDOW = 256 << 20  # bytes of images that are shuffled at once


def has_name(name: str) -> bool:
    """Return whether a file's name ends in `.parquet`."""
    return name.lower().endswith((".parquet", ".parq", ".pq"))


def has_head(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is a Parquet file."""
    return head.startswith(_MAGIC)


@dataclass(frozen=True)
class _Group:
    """A row group.

    file: its number. group: its number in the file. first: the index of its first image.
    size: bytes of its images.
    """

    file: int
    group: int
    first: int
    rows: int
    size: int


def open_parquet(path: Path, files: Sequence[Path], options: SourceOptions) -> Source:
    """Open Parquet files with a column of images and, if there is one, of labels.

    Files such as `train-00000-of-00002.parquet`, or in a folder `train`, are splits.

    Raises UserError if pyarrow is missing, a file is damaged or has other columns than the first,
    or there is no such column (see `choose_columns`).
    """
    _check_one_set(path, files)
    folders = [_split_folder(path, file) for file in files]
    order = sorted(range(len(files)), key=lambda number: folders[number])
    files, folders = [files[n] for n in order], [folders[n] for n in order]
    opened = [_open(file) for file in files]
    columns = choose_columns(files[0], opened[0].schema_arrow, options)
    groups: list[_Group] = []
    classes: list[str | None] = []
    counts = []
    for number, (file, parquet) in enumerate(zip(files, opened, strict=True)):
        _check_columns(file, parquet, columns, files[0])
        groups += _groups(file, number, parquet, columns, groups)
        rows = sum(group.rows for group in groups if group.file == number)
        counts.append((folders[number], rows))
        if columns.label is not None:
            classes += _read_classes(file, parquet, columns, rows)
    names = numbered_names(counts)
    if not names:
        raise UserError(f"{path}: contains no rows.")
    reader = _Reader(files, [parquet.metadata for parquet in opened], columns, groups)
    for parquet in opened:
        parquet.close()
    return Source(
        path,
        f"Parquet (column {columns.image}; {len(files)} file{'s' if len(files) > 1 else ''})",
        names,
        reader.read,
        labels=None if columns.label is None else StatedLabels(classes, columns.describe_label()),
        notes=list(columns.notes),
        order=reader.order,
    )


def _open(file: Path) -> "pq.ParquetFile":
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise missing_packages(f"{file}: Parquet files", "pyarrow") from None
    try:
        return pq.ParquetFile(file)
    except Exception as error:  # Arrow raises several types of errors on damaged files
        raise UserError(
            f"{file}: not a Parquet file, damaged or cut off ({_first_line(error)})."
        ) from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200].rstrip(".")


def _words(text: str) -> list[str]:
    return re.split(r"[-_.]", text)


def _split_folder(path: Path, file: Path) -> str:
    """Return the split that the names of a file and its folders state, such as "train", or ""."""
    folders = file.relative_to(path).parts[:-1] if file != path else ()
    for name in (file.stem, *reversed(folders)):
        for word in _words(name):
            if customary_split(word) is not None:
                return word.casefold()
    return ""


def _check_one_set(path: Path, files: Sequence[Path]) -> None:
    """Raise UserError if files are in several folders that are not splits."""
    sets: dict[tuple[str, ...], Path] = {}
    for file in files if list(files) != [path] else ():
        folders = file.relative_to(path).parts[:-1]
        others = (f for f in folders if not any(customary_split(w) for w in _words(f)))
        sets.setdefault(tuple(others), file)
    if len(sets) > 1:
        examples = [str(file.relative_to(path)) for file in sets.values()]
        raise UserError(
            f"{path}: contains Parquet files of several sets, such as {examples[0]} and "
            f"{examples[1]}; give the folder of one."
        )


def _check_columns(file: Path, parquet: "pq.ParquetFile", columns: Columns, first: Path) -> None:
    names = parquet.schema_arrow.names
    for name in filter(None, (columns.image, columns.label)):
        if names.count(name) != 1:
            raise UserError(
                f"{file}: has no column {name!r}, which {first.name} has; its columns are "
                f"{', '.join(names)}."
            )


def _groups(
    file: Path,
    number: int,
    parquet: "pq.ParquetFile",
    columns: Columns,
    before: Sequence[_Group],
) -> list[_Group]:
    """Return the row groups of a file that have rows.

    Raises UserError if one is too large to be read at once.
    """
    first = before[-1].first + before[-1].rows if before else 0
    groups = []
    for index in range(parquet.metadata.num_row_groups):
        group = parquet.metadata.row_group(index)
        chunks = map(group.column, range(group.num_columns))
        size = sum(
            chunk.total_uncompressed_size
            for chunk in chunks
            if chunk.path_in_schema.split(".")[0] == columns.image
        )
        if size > MAX_IN_MEMORY:
            raise UserError(
                f"{file}: row group {index} contains {size / 1e9:.1f} GB of images, which is too "
                "much to read at once; write the file with row groups of about 100 rows."
            )
        if group.num_rows:
            groups.append(_Group(number, index, first, group.num_rows, size))
            first += group.num_rows
    return groups


def _read_classes(
    file: Path, parquet: "pq.ParquetFile", columns: Columns, rows: int
) -> list[str | None]:
    try:
        values = parquet.read(columns=[columns.label]).column(0).to_pylist()
        if len(values) != rows:
            raise ValueError(f"{len(values)} of {rows}")
    except Exception as error:
        raise UserError(f"{file}: the labels cannot be read ({_first_line(error)}).") from None
    return [columns.class_of(value, file) for value in values]


@dataclass
class _Reader:
    """Reads images by index, in an order in which few row groups are needed at once.

    loaded: the images of row groups, or why they cannot be read.
    remaining: how many images of each loaded row group were not read yet.
    """

    files: Sequence[Path]
    metadata: Sequence[Any]
    columns: Columns
    groups: Sequence[_Group]
    loaded: dict[int, Any] = field(default_factory=dict)
    remaining: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.firsts = [group.first for group in self.groups]

    def order(self, count: int, rng: random.Random) -> list[int]:
        """Return a random order: row groups are shuffled, then the images of each window of them.

        A window is about 256 MiB of images. Where all are less, any order is equally likely.
        """
        groups = list(self.groups)
        rng.shuffle(groups)
        totals = accumulate(group.size for group in groups)
        order: list[int] = []
        window: list[int] = []
        number = 0
        for group, total in zip(groups, totals, strict=True):
            if total // _WINDOW > number:
                rng.shuffle(window)
                order += window
                window, number = [], total // _WINDOW
            window += range(group.first, group.first + group.rows)
        rng.shuffle(window)
        return order + window

    def read(self, index: int) -> bytes:
        """Return an encoded image. Raises UserError with the reason if there is none."""
        number = bisect_right(self.firsts, index) - 1
        group = self.groups[number]
        if number not in self.loaded:
            self.loaded[number] = self._load(group)
            self.remaining[number] = group.rows
        column = self.loaded[number]
        self.remaining[number] -= 1
        if not self.remaining[number]:
            del self.loaded[number]
        if isinstance(column, UserError):
            raise column
        return self.columns.image_of(column[index - group.first].as_py())

    def _load(self, group: _Group) -> Any:
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(
                self.files[group.file], metadata=self.metadata[group.file]
            ) as parquet:
                table = parquet.read_row_group(group.group, columns=[self.columns.image])
            if table.num_rows != group.rows:
                raise ValueError(f"{table.num_rows} of {group.rows} rows")
            return table.column(0)
        except Exception as error:
            return UserError(f"its row group is damaged ({_first_line(error)})")
