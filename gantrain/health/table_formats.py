"""Tables as other tools write them: CSV, JSON lines, JSON documents."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.records import is_number
from gantrain.health.columns import known_name

# Number of the line or entry, and the values by column.
Record = tuple[int, dict[str, Any]]

_SNAPSHOT = re.compile(r"(\d{6})(?:\D*)$")  # the kimg in StyleGAN's names of snapshots
_MEASURED = re.compile(r"(fid|kid|inception_score)_\d")  # torch-mimicry's names of files


def read_records(text: str, source: str) -> list[Record]:
    """Return the lines or entries of a table.

    text: CSV, its columns separated by commas, semicolons or tabs; JSON objects, one a line or in a
        list, nested or not; or one JSON object of lists, or of values by step.
    source: the file, for errors and for what its name says.

    Raises UserError if the text is none of that.
    """
    if text.lstrip()[:1] not in ("{", "["):
        return list(_csv(text, source))
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return list(_json_lines(text, source))
    if isinstance(document, list):
        return [(i, _entry(entry, f"{source}: entry {i}")) for i, entry in enumerate(document, 1)]
    if document and all(re.fullmatch(r"\d{1,15}", key) for key in document):
        return list(_by_step(document, source))
    lists = {name: value for name, value in document.items() if isinstance(value, list)}
    if lists and len(lists) == len(document):
        return list(_by_column(lists, source))
    return [(1, _flatten(document))]


def _csv(text: str, source: str) -> Iterator[Record]:
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
            if not names and _is_numeric(row[0]):
                names = [str(i) for i in range(1, len(row) + 1)]  # a table without a header
            elif not names:
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


def _is_numeric(cell: str) -> bool:
    return re.fullmatch(r"\s*[-+]?\d+(\.\d*)?([eE][-+]?\d+)?\s*", cell) is not None


def _json_lines(text: str, source: str) -> Iterator[Record]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            raise UserError(f"{source}:{number}: not JSON; expected one object a line.") from None
        yield number, _entry(content, f"{source}:{number}")


def _entry(content: object, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise UserError(f"{where}: no JSON object; expected columns and their values.")
    return _flatten(content)


def _by_step(document: Mapping[str, Any], source: str) -> Iterator[Record]:
    """Yield the values of each step; several of one metric, as of torch-mimicry's seeds, as means.

    The metric is that in the name of the file, such as fid_50k_50k.json, else `value`.
    """
    found = _MEASURED.match(PurePath(source).name)
    name = found[1] if found else "value"
    for number, (step, content) in enumerate(document.items(), 1):
        if isinstance(content, dict):
            yield number, {"step": int(step), **_flatten(content)}
            continue
        values = content if isinstance(content, list) else [content]
        if not values or not all(is_number(value) for value in values):
            raise UserError(f"{source}: step {step}: expected a number or a list of numbers.")
        yield number, {"step": int(step), name: sum(values) / len(values)}


def _by_column(lists: Mapping[str, list[Any]], source: str) -> Iterator[Record]:
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UserError(f"{source}: lists of different lengths ({found}); expected a table.")
    for number, values in enumerate(zip(*lists.values(), strict=True), 1):
        yield number, _flatten(dict(zip(lists, values, strict=True)))


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
    return {k: v for k, v in flat.items() if not isinstance(v, str) or known_name(k)}
