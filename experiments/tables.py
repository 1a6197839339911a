"""Tables in the documentation: Markdown between `<!-- NAME -->` and `<!-- end -->`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

_END = "<!-- end -->"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def update_tables(document: Path, tables: Mapping[str, str]) -> None:
    """Replace the text between the marks of each table; the rest of the document is kept.

    Raises ValueError if the document lacks the marks of one; nothing is written then.
    """
    text = document.read_text(encoding="utf-8")
    for name, table in tables.items():
        mark = f"<!-- {name} -->"
        start = text.index(mark)
        end = text.index(_END, start)
        text = f"{text[:start]}{mark}\n{table}\n{text[end:]}"
    document.write_text(text, encoding="utf-8")


def format_median_and_range(values: Sequence[float], digits: int = 3) -> str:
    """Return `median (lowest to highest)` of the finite values; "-" without any."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "-"
    low, middle, high = min(finite), float(np.median(finite)), max(finite)
    return f"{middle:.{digits}g} ({low:.{digits}g} to {high:.{digits}g})"
