"""Read a configuration from YAML with dotted overrides, validate it, write it back."""

import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gantrain.common.errors import UserError
from gantrain.common.validation import problems_of
from gantrain.common.yaml_core import dump_yaml, load_yaml
from gantrain.config.objectives import objective_kinds
from gantrain.config.schema import Config, current_key, rename_old_keys

# pydantic adds the member of a union ("dcgan", "float") to a problem's location.
_UNION_TAGS = frozenset({"constrained-float", "float", *objective_kinds()})


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply `dotted.key=value` overrides and validate the result.

    Raises UserError naming the file or override, the key, what was expected and, for an unknown
    key, the nearest known one.
    """
    try:
        tree = rename_old_keys(read_yaml(path))
    except ValueError as error:
        raise UserError(f"{path}: {error}.") from None
    for override in overrides:
        _apply_override(tree, override)
    return parse_config(tree, str(path))


def read_yaml(
    path: Path,
    *,
    kind: str = "config",
    expected: str = "sections such as `data:` and `training:`",
) -> dict[str, Any]:
    """Return the mapping in a YAML file, without validation.

    kind: what the file is, for messages. expected: what a mapping of this kind contains, likewise.

    Raises UserError if the file cannot be read, is not YAML or is not a mapping.
    """
    try:
        tree = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UserError(f"{path}: the {kind} cannot be read ({reason}).") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid YAML: {error}.") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected {expected}, found none.")
    return tree


def parse_config(tree: object, source: str) -> Config:
    """Validate a tree of plain values; `source` names it in the UserError."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = problems_of(error, list(known_keys()), _UNION_TAGS)
        raise UserError(f"{source}: " + "\n  ".join(problems)) from None


def dump_config(config: Config) -> str:
    """Return the whole tree as YAML, defaults included; load_config reads it back unchanged."""
    return dump_yaml(config.model_dump(mode="json"))


def known_keys() -> Iterator[str]:
    """Yield every dotted key that a config may have, sections included."""
    yield from _keys_of(Config, "")


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise UserError(f"Override {override!r}: expected dotted.key=value, as in seed=1.")
    try:
        value = load_yaml(text)
    except ValueError as error:
        raise UserError(f"Override {override!r}: the value is not valid YAML: {error}.") from None
    *sections, last = current_key(key).split(".")
    for section in sections:
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UserError(f"Override {override!r}: {section!r} is a value, not a section.")
        tree = inner
    tree[last] = value


def _keys_of(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for section in _sections_in(field.annotation):
            yield from _keys_of(section, f"{prefix}{name}.")


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, Annotated):
        for inner in get_args(annotation):
            yield from _sections_in(inner)
