"""Losses and quality in the logs of other tools."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gantrain.common.errors import UserError
from gantrain.health.columns import listed, used_columns
from gantrain.health.table_formats import Record, read_records

_ROW = "row"  # a column that every table has: the number of the row
_PROGRESS = {"images_seen": 1, "kimg": 1000}  # images per unit; a step has a batch


@dataclass(frozen=True)
class Row:
    """A line of a table: its number in the file, the progress and the metrics under our names.

    images_seen: of all rows or of none. step: None where it is not known.
    """

    number: int
    images_seen: int | None
    step: int | None
    metrics: dict[str, float]

    @property
    def position(self) -> int:
        """Images seen, else steps."""
        return (self.step or 0) if self.images_seen is None else self.images_seen


@dataclass
class Table:
    """The rows of a table, in the order of their progress, and what was not understood.

    columns: metric or progress by the column that it was read from. ignored: other columns.
    rewound: how many times the log returns to an earlier point, from which on only the newer values
        count, as after a run was resumed.
    """

    rows: list[Row]
    columns: dict[str, str]
    ignored: list[str] = field(default_factory=list)
    rewound: int = 0


def read_table(text: str, source: str, mapping: Mapping[str, str]) -> Table:
    """Read a table of losses and quality.

    text, source: as for `read_records`.
    mapping: our names of columns, for those that are not understood by themselves. The column `row`
        is the number of the row, from 1 on, if there is no other of that name.

    Raises UserError if the text is no such table, or has no progress or nothing to judge by.
    """
    records = read_records(text, source)
    if not records:
        raise UserError(f"{source}: no line of values; expected a CSV table or JSON.")
    if _ROW in mapping:
        counted = enumerate(records, 1)
        records = [(number, {_ROW: i, **record}) for i, (number, record) in counted]
    names = list(dict.fromkeys(name for _, record in records for name in record))
    used = used_columns(names, mapping, source)
    _require_progress(names, used, source)
    found = (_row(record, used, source) for record in records)
    rows = _with_one_progress([row for row in found if row is not None], source)
    if not rows:
        raise UserError(f"{source}: no line of values; the columns {listed(used)} are empty.")
    rows, rewound = _in_order(rows)
    return Table(rows, used, [name for name in names if name not in used], rewound)


def _require_progress(names: Sequence[str], used: Mapping[str, str], source: str) -> None:
    """Raise UserError unless a column is progress and another one a loss or quality."""
    found = set(used.values())
    unnamed = names[0] == "1"
    if not found & {*_PROGRESS, "step"}:
        epoch = next((name for name in names if name.lower() in ("epoch", "epochs")), None)
        hint = f"--column step={epoch} --images-per-step N" if epoch else "--column step=NAME"
        hint = "--column step=1 --column fid=2" if unnamed else hint
        start = "it has no header, and " if unnamed else ""
        raise UserError(
            f"{source}: {start}no column says how far the run is; expected images_seen, kimg or "
            f"step, or another with {hint}, or {_ROW} for the number of the row. It has "
            f"{listed(names)}."
        )
    if not any(name.startswith(("quality/", "loss/")) for name in found):
        value = next((name for name in names if name.lower() == "value"), "NAME")
        raise UserError(
            f"{source}: no column of losses or quality that is understood; it has {listed(names)}. "
            f"Name one with --column fid={value}; --columns prints what is understood."
        )


def _row(record: Record, used: Mapping[str, str], source: str) -> Row | None:
    """Return a line of a table; None if it has neither metrics nor progress, as a header has."""
    number, cells = record
    metrics: dict[str, float] = {}
    progress: dict[str, float] = {}
    for column, name in used.items():
        value = _number(cells.get(column), f"{source}:{number}: {column}")
        if value is None:
            continue
        (metrics if "/" in name else progress)[name] = value
    for name, value in progress.items():
        if not 0 <= value < 2**53:
            raise UserError(f"{source}:{number}: {name} is {value:g}; expected a count from 0 on.")
    if not progress:
        if not metrics:
            return None
        wanted = ", ".join(column for column, name in used.items() if "/" not in name)
        raise UserError(
            f"{source}:{number}: the line has no step; expected a number in column {wanted}."
        )
    images = next((progress[n] * size for n, size in _PROGRESS.items() if n in progress), None)
    step = progress.get("step")
    return Row(
        number,
        None if images is None else round(images),
        None if step is None else round(step),
        metrics,
    )


def _number(value: object, where: str) -> float | None:
    """Return a cell as a number, NaN and infinity included; None if it is empty."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e300 or isinstance(value, float) else math.inf
    text = str(value).strip()
    if text.lower() in ("", "-", "none", "null", "n/a", "na"):
        return None
    try:
        return float(text.replace("_", "x"))  # float() reads 1_0 as 10
    except ValueError:
        raise UserError(f"{where} is {text[:40]!r}; expected a number.") from None


def _with_one_progress(rows: Sequence[Row], source: str) -> list[Row]:
    """Return rows with images seen in all of them, or in none and with steps in all."""
    if all(row.images_seen is not None for row in rows):
        return list(rows)
    for row in rows:
        if row.step is None:
            raise UserError(
                f"{source}:{row.number}: the line has no step, but others have no images seen; "
                "expected one of both in all lines."
            )
    return [replace(row, images_seen=None) for row in rows]


def _in_order(rows: list[Row]) -> tuple[list[Row], int]:
    """Return rows by progress, without what a resumed run repeats, and how many times it does.

    Each metric is looked at alone, since a log may have one after the other. Where none is repeated
    the rows have only been mixed.
    """
    rewound: set[int] = set()
    for name in {name for row in rows for name in row.metrics}:
        having = [row for row in rows if name in row.metrics]
        positions = [row.position for row in having]
        if len(set(positions)) == len(positions) or positions == sorted(positions, reverse=True):
            continue
        kept: list[Row] = []
        for row in having:
            if kept and kept[-1].position > row.position:
                rewound.add(row.number)
                while kept and kept[-1].position >= row.position:
                    kept.pop().metrics.pop(name)
            kept.append(row)
    left = [row for row in rows if row.metrics]
    return sorted(left, key=lambda row: row.position), len(rewound)
