"""Measured values that are kept in a file, so that nothing is measured twice."""

from collections.abc import Callable
from pathlib import Path

from gantrain.common.files import write_json
from gantrain.common.records import read_object

Values = dict[str, float]


def remember(path: Path, measure: Callable[[], Values]) -> Values:
    """Return what `measure` returned when it was called first; the file keeps it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, measure())
    return {name: float(value) for name, value in read_object(path).items()}
