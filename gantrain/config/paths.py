"""Home folders and environment variables in the path keys of a config."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.expectations import accepts_path, known_keys
from gantrain.config.schema import Config

_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::-([^}]*))?\}|(\{))")
_ESCAPE = "write $$ for a dollar sign"
_COMMAND = "pipe:"  # its shell expands the rest


def path_keys() -> Iterator[str]:
    """Yield the dotted keys whose values are paths."""
    return (key for key in known_keys(Config) if accepts_path(Config, key))


def expand_path(text: str, source: str) -> str:
    """Return a path or URL with `~`, `~user`, `$NAME`, `${NAME}` and `${NAME:-default}` expanded.

    `$$` is a dollar sign. A `pipe:` command stays as it is.

    Raises UserError, beginning with `source`, if the variable or the user does not exist, or the
    locale has no such file names.
    """
    if text.startswith(_COMMAND):
        return text

    def value_of(match: re.Match[str]) -> str:
        dollar, plain, braced, default, malformed = match.groups()
        if dollar:
            return "$"
        if malformed:
            raise UserError(f"{source}: {text!r}: '${{' without a name and '}}'; {_ESCAPE}.")
        name = plain or braced
        value = os.environ.get(name) or default
        if not value:
            state = "empty" if name in os.environ else "not set"
            raise UserError(
                f"{source}: {text!r}: the environment variable {name} is {state}; set it, give a "
                f"default as in ${{{name}:-/tmp}}, or {_ESCAPE}."
            )
        return value

    expanded = _VARIABLE.sub(value_of, text)
    try:
        os.fsencode(expanded)
    except UnicodeEncodeError:
        raise UserError(
            f"{source}: {text!r} cannot be a file name in this locale's encoding; use a UTF-8 "
            "locale such as LC_ALL=C.UTF-8."
        ) from None
    if expanded.startswith("~"):
        name = expanded.partition("/")[0]
        try:
            return str(Path(expanded).expanduser())
        except RuntimeError:
            raise UserError(
                f"{source}: {text!r}: there is no user {name[1:]!r} whose home folder {name} could "
                f"be; for a folder of that name write ./{name}."
            ) from None
    return expanded


def expand_paths(tree: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return a config tree with all paths expanded. Raises UserError as `expand_path` does."""
    return _map_paths(tree, lambda key, text: expand_path(text, f"{source}: {key}"))


def escape_paths(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config tree that `expand_paths` turns into this one."""
    return _map_paths(tree, lambda _, text: _escaped(text))


def _escaped(text: str) -> str:
    if text.startswith(_COMMAND):
        return text
    text = text.replace("$", "$$")
    return f"./{text}" if text.startswith("~") else text


def _map_paths(tree: Mapping[str, Any], change: Callable[[str, str], str]) -> dict[str, Any]:
    changed = dict(tree)
    for key in path_keys():
        section, _, name = key.partition(".")
        values = changed.get(section)
        if isinstance(values, Mapping) and isinstance(values.get(name), str):
            changed[section] = {**values, name: change(key, values[name])}
    return changed
