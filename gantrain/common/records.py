"""Reads JSON files that may be truncated, foreign or hostile; converts trees to dotted keys."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from pydantic import BaseModel, ValidationError

from gantrain.common.errors import UserError
from gantrain.common.validation import problems_of

Model = TypeVar("Model", bound=BaseModel)

_MAX_COUNT = 2**63


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises UserError naming the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object.")
    return content


def read_record(path: Path, model: type[Model]) -> Model:
    """Return the validated content of a JSON file.

    Raises UserError naming the file and its invalid keys.
    """
    return parse_record(read_object(path), model, str(path))


def parse_record(content: Mapping[str, Any], model: type[Model], source: str) -> Model:
    """Return validated content; `source` names it in the UserError, with its invalid keys."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(problems_of(error, model))
        raise UserError(f"{source}: {problems}.") from None


def flatten(
    tree: Mapping[str, Any], prefix: str = "", *, levels: int | None = None
) -> dict[str, Any]:
    """Return the values of nested sections by dotted key.

    levels: number of names in a key, below which mappings are values; None: any number.
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and levels != 1:
            below = None if levels is None else levels - 1
            flat |= flatten(value, f"{prefix}{key}.", levels=below)
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested sections of dotted keys: the inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        parent = tree
        for section in sections:
            parent = parent.setdefault(section, {})
        parent[last] = value
    return tree


def is_count(value: object) -> TypeGuard[int]:
    """Return whether a value is a number of images, starts and the like."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < _MAX_COUNT if isinstance(value, int) else math.isfinite(value)
