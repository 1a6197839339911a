"""Losses and quality in the logs of other tools: CSV tables and JSON lines with named columns."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gantrain.common.errors import UserError

# The columns that are understood: name in metrics.jsonl, and other names, without case, spaces and
# punctuation. The first three are progress.
COLUMNS: dict[str, tuple[str, ...]] = {
    "images_seen": ("images", "imagesseen", "nimg", "curnimg", "progressnimg", "samplesseen"),
    "kimg": ("curkimg", "progresskimg", "kimgs"),
    "step": ("steps", "globalstep", "iter", "iters", "iteration", "iterations", "itr", "gsteps"),
    "loss/discriminator": (
        *("dloss", "lossd", "errd", "disloss", "discriminatorloss", "closs", "criticloss"),
        *("lossdloss", "lossdiscriminator", "dtotalloss", "losscritic", "lossesdloss"),
    ),
    "loss/generator": (
        *("gloss", "lossg", "errg", "genloss", "generatorloss", "lossgloss", "lossgenerator"),
        "lossesgloss",
    ),
    "loss/penalty": ("gp", "gradpenalty", "gradientpenalty", "penalty", "cgp", "losspenalty"),
    "loss/wasserstein": ("wassersteindistance", "wdist", "wasserstein", "cwassloss", "emd"),
    "quality/fid": (
        *("fid", "fidscore", "frechetinceptiondistance", "fid50k", "fid50kfull", "fid10k", "fid5k"),
        *("resultsfid50kfull", "resultsfid50k", "metricsfid50kfull", "metricsfid", "evalfid"),
        *("fidvalue", "qualityfid"),
    ),
    "quality/kid": ("kid", "kidscore", "kid50k", "kid50kfull", "resultskid50kfull", "qualitykid"),
    "quality/inception_score": ("is", "inceptionscore", "ismean", "is50k", "is50kmean"),
    "quality/precision": ("precision", "pr50k3precision", "pr50k3fullprecision"),
    "quality/recall": ("recall", "pr50k3recall", "pr50k3fullrecall"),
    "health/d_accuracy_real": ("dacc", "drealacc", "accreal", "drealaccuracy"),
    "health/d_accuracy_fake": ("dfakeacc", "accfake", "dfakeaccuracy"),
    "health/d_grad_norm": ("dgradnorm", "gradnormd"),
    "health/g_grad_norm": ("ggradnorm", "gradnormg"),
}
_PROGRESS = {"images_seen": 1, "kimg": 1000}  # images per unit; a step has a batch
_SNAPSHOT = re.compile(r"(\d{6})(?:\D*)$")  # the kimg in StyleGAN's names of snapshots


@dataclass(frozen=True)
class Row:
    """A line of a table: its number in the file, the progress and the metrics under our names.

    images_seen, step: one of them may be None.
    """

    number: int
    images_seen: int | None
    step: int | None
    metrics: dict[str, float]


@dataclass
class Table:
    """The rows of a table, and what was not understood.

    columns: metric or progress by the column that it was read from. ignored: other columns.
    """

    rows: list[Row]
    columns: dict[str, str]
    ignored: list[str] = field(default_factory=list)


def columns_text() -> str:
    """Return the understood columns and their other names, one line each."""
    return "\n".join(f"{name}: {', '.join(others)}" for name, others in COLUMNS.items())


def parse_mapping(words: Sequence[str]) -> dict[str, str]:
    """Return our name by the column of the file, from words such as `fid=FID50k`.

    Raises UserError if a word has no `=` or a name that is not understood.
    """
    mapping = {}
    for word in words:
        name, equals, column = word.partition("=")
        known = _known_name(name)
        if not equals or not column or known is None:
            raise UserError(
                f"--column {word!r}: expected NAME=COLUMN, where NAME is one of "
                f"{', '.join(COLUMNS)} or another name of them that --columns prints."
            )
        mapping[column] = known
    return mapping


def read_table(text: str, source: str, mapping: Mapping[str, str]) -> Table:
    """Read a table of losses and quality.

    text: CSV with a header, its columns separated by commas, semicolons or tabs; or a JSON object a
        line, nested or not, as StyleGAN's stats.jsonl and metric-*.jsonl.
    source: the file, for errors.
    mapping: our names of columns, for those that are not understood by themselves.

    Raises UserError if the text is no such table, or has no progress or nothing to judge by.
    """
    records = list(_json_records(text, source) if text.lstrip()[:1] == "{" else _csv(text, source))
    if not records:
        raise UserError(f"{source}: no line of values; expected a CSV table or JSON lines.")
    names = list(dict.fromkeys(name for _, record in records for name in record))
    columns = {name: mapping.get(name) or _known_name(name) for name in names}
    absent = [column for column in mapping if column not in names]
    if absent:
        raise UserError(
            f"{source}: no column {absent[0]!r}, which --column names; it has {_list(names)}."
        )
    used = _without_repeats(columns, mapping)
    found = set(used.values())
    if not found & {*_PROGRESS, "step"}:
        epoch = next((name for name in names if name.lower() in ("epoch", "epochs")), None)
        hint = f"--column step={epoch} --images-per-step N" if epoch else "--column step=NAME"
        raise UserError(
            f"{source}: no column says how far the run is; expected images_seen, kimg or step, or "
            f"another with {hint}. It has {_list(names)}."
        )
    if not any(name.startswith(("quality/", "loss/")) for name in found):
        raise UserError(
            f"{source}: no column of losses or quality that is understood; it has {_list(names)}. "
            "Name one with --column fid=NAME; --columns prints what is understood."
        )
    rows = [_row(number, record, used, source) for number, record in records]
    rows.sort(key=lambda row: (row.images_seen or 0, row.step or 0))
    return Table(rows, used, [name for name in names if name not in used])


def _row(number: int, record: Mapping[str, Any], used: Mapping[str, str], source: str) -> Row:
    metrics: dict[str, float] = {}
    progress: dict[str, float] = {}
    for column, name in used.items():
        value = _number(record.get(column), f"{source}:{number}: {column}")
        if value is None:
            continue
        (metrics if "/" in name else progress)[name] = value
    for name, value in progress.items():
        if not 0 <= value < 2**53:
            raise UserError(f"{source}:{number}: {name} is {value:g}; expected a count from 0 on.")
    if not progress:
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


def _csv(text: str, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
    header = next((line for line in text.splitlines() if line.strip()), "")
    if "\0" in text:
        raise UserError(f"{source}: not a text file; expected metrics.jsonl, CSV or JSON lines.")
    separator = max("\t;,", key=header.count)
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    names: list[str] = []
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if not names:
                names = [cell.strip().lstrip("\ufeff").lstrip("# ") for cell in row]
                continue
            if len(row) > len(names):
                raise UserError(
                    f"{source}:{reader.line_num}: {len(row)} values, but the header names "
                    f"{len(names)} columns."
                )
            yield reader.line_num, dict(zip(names, row, strict=False))
    except csv.Error as error:
        raise UserError(f"{source}:{reader.line_num}: not CSV ({error}).") from None


def _json_records(text: str, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            raise UserError(f"{source}:{number}: not JSON; expected one object a line.") from None
        if not isinstance(content, dict):
            raise UserError(f"{source}:{number}: no JSON object; expected one a line.")
        yield number, _flatten(content)


def _flatten(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values by dotted name; of StyleGAN's statistics, their means.

    The name of a snapshot gives the kimg if nothing else does.
    """
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict) and isinstance(value.get("mean"), int | float):
            flat[key] = value["mean"]
        elif isinstance(value, dict):
            inner = {k: v for k, v in value.items() if not isinstance(v, dict | list)}
            flat |= {f"{key}.{k}": v for k, v in inner.items()}
        elif not isinstance(value, list):
            flat[key] = value
    snapshot = flat.get("snapshot_pkl")
    if isinstance(snapshot, str) and (found := _SNAPSHOT.search(snapshot.removesuffix(".pkl"))):
        flat.setdefault("kimg", int(found[1]))
    return {k: v for k, v in flat.items() if not isinstance(v, str) or _known_name(k)}


def _known_name(column: str) -> str | None:
    if column in COLUMNS or column.startswith(("loss/", "health/", "quality/", "interval/")):
        return column  # as in metrics.jsonl
    bare = re.sub(r"[^a-z0-9]", "", column.lower())
    return next(
        (
            name
            for name, others in COLUMNS.items()
            if bare in others or bare == re.sub(r"[^a-z0-9]", "", name)
        ),
        None,
    )


def _without_repeats(
    columns: Mapping[str, str | None], mapping: Mapping[str, str]
) -> dict[str, str]:
    """Return the understood columns; of several with one meaning the mapped or the first one."""
    used: dict[str, str] = {}
    for column in sorted(columns, key=lambda name: name not in mapping):
        name = columns[column]
        if name is not None and name not in used.values():
            used[column] = name
    return used


def _list(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
