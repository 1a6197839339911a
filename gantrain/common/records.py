"""JSON files that may be cut short, foreign or hostile, read with one clear error."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gantrain.common.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises UserError naming the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object.")
    return content


def read_record(path: Path, model: type[Model]) -> Model:
    """The record in a JSON file. Raises UserError naming the file and the key that is wrong."""
    try:
        return model.model_validate(read_object(path))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise UserError(f"{path}: {key or 'content'}: {problem['msg']}.") from None


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a tree of sections by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree of sections that `flatten` turned into dotted keys."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        parent = tree
        for section in sections:
            parent = parent.setdefault(section, {})
        parent[last] = value
    return tree
