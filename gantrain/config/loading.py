"""Read a configuration from YAML with dotted overrides, validate it, write it back."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gantrain.common import expectations
from gantrain.common.errors import UserError, os_reason
from gantrain.common.validation import problems_of
from gantrain.common.yaml_core import dump_yaml, load_yaml
from gantrain.config.overrides import apply_overrides, overridden_keys
from gantrain.config.paths import escape_paths, expand_paths
from gantrain.config.schema import Config, nest_dotted_keys, rename_old_keys
from gantrain.config.suggestions import explain_unknown


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply `dotted.key=value` overrides and validate the result.

    Raises UserError naming the file or override, the key, what was expected and, for an unknown
    key, the nearest known one.
    """
    tree = expand_paths(apply_overrides(read_config(path), overrides), str(path))
    return _validate(tree, str(path), overridden_keys(overrides))


def read_config(path: Path, *, kind: str = "config") -> dict[str, Any]:
    """Return the tree in a config file under today's keys, without validation.

    kind: what the file is, for messages.

    Raises UserError if the file cannot be read, or has a key twice.
    """
    try:
        return rename_old_keys(nest_dotted_keys(read_yaml(path, kind=kind)))
    except ValueError as error:
        raise UserError(f"{path}: {error}.") from None


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
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: the {kind} cannot be read ({os_reason(error)}).") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}: the {kind} cannot be read: byte {content[error.start]:#04x} in line {line} "
            "is not UTF-8; save the file as UTF-8."
        ) from None
    try:
        tree = load_yaml(text)
    except ValueError as error:
        advice = "; indent with spaces, not with tabs" if "\t" in text else ""
        if re.search(r"\{.*\$\{", text):
            advice = "; in { } a value with ${NAME} needs quotes"
        raise UserError(f"{path}: not valid YAML: {error}{advice}.") from None
    if not isinstance(tree, dict):
        found = "the file is empty" if tree is None else f"{expectations.quoted(tree)} found"
        raise UserError(f"{path}: {found}; expected {expected}.")
    return tree


def parse_config(tree: object, source: str) -> Config:
    """Validate a tree of plain values; `source` names it in the UserError.

    Paths are taken as they are: `~` and variables are expanded where a user writes them, in files
    and overrides, and once.
    """
    return _validate(tree, source, {})


def _validate(tree: object, source: str, overrides: Mapping[str, str]) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = [
            problem + _origin(problem, overrides)
            for problem in problems_of(error, Config, lambda key: explain_unknown(key, tree))
        ]
        raise UserError(f"{source}: " + "\n  ".join(problems)) from None


def _origin(problem: str, overrides: Mapping[str, str]) -> str:
    for key, word in overrides.items():
        if problem.startswith((f"{key}:", f"{key}.")):
            return f" (from the override {word!r})"
    return ""


def dump_config(config: Config) -> str:
    """Return the whole tree as YAML, defaults included; load_config reads it back unchanged.

    Paths are those that the run uses: what `~` and the variables of the user's file stood for.
    """
    return dump_yaml(escape_paths(config.model_dump(mode="json")))


def known_keys() -> Iterator[str]:
    """Yield every dotted key that a config may have, sections included."""
    yield from expectations.known_keys(Config)
