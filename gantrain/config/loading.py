"""Reads a configuration from YAML with dotted overrides, validates it, and writes it back."""

import difflib
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from gantrain.common.errors import UserError
from gantrain.config.schema import Config


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply `dotted.key=value` overrides, validate.

    Raises UserError naming the file or override, the key, what was expected and, for an unknown
    key, the nearest one.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the config cannot be read ({_reason(error)}).") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected sections such as `data:` and `training:`, found none.")
    for override in overrides:
        _apply_override(tree, override)
    return parse_config(tree, str(path))


def parse_config(tree: object, source: str) -> Config:
    """Validate a tree of plain values; `source` names it in the UserError."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = [_sentence(problem) for problem in error.errors(include_url=False)]
        raise UserError(f"{source}: " + "\n  ".join(problems)) from None


def dump_config(config: Config) -> str:
    """The whole tree as YAML, defaults too, such that load_config gives it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise UserError(f"Override {override!r}: expected dotted.key=value, as in seed=1.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"Override {override!r}: the value is not valid YAML.") from None
    *sections, last = key.split(".")
    for section in sections:
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UserError(f"Override {override!r}: {section!r} is a value, not a section.")
        tree = inner
    tree[last] = value


def _sentence(problem: Any) -> str:
    # pydantic puts the union's tag ("dcgan") into the path; users write no such key.
    tags = {"dcgan", "wgan-gp", "constrained-float", "float"}
    path = [str(part) for part in problem["loc"] if part not in tags and "[" not in str(part)]
    key = ".".join(path)
    kind = problem["type"]
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(key, list(known_keys()), n=1, cutoff=0.0)
        return f"unknown key {key!r}; the nearest known one is {near[0]!r}"
    if kind == "missing":
        return f"{key}: missing; this key has no default"
    if kind == "value_error":
        return str(problem["ctx"]["error"])
    message = problem["msg"].removeprefix("Input should be ")
    return f"{key}: {problem['input']!r} found; expected {message}"


def known_keys() -> Iterator[str]:
    """Every dotted key that a config may hold, sections included."""
    yield from _keys_of(Config, "")


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
