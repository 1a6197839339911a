"""Turns pydantic's errors into sentences for users: key, value found, what was expected."""

import difflib
from collections.abc import Collection, Iterable
from typing import Any

from pydantic import ValidationError

_MAX_VALUE_LENGTH = 200  # characters of an invalid value that a message quotes


def nearest(key: str, known: Iterable[str]) -> str:
    """The known key that looks most like this one."""
    return difflib.get_close_matches(key, list(known), n=1, cutoff=0.0)[0]


def problems_of(
    error: ValidationError, known_keys: Collection[str], tags: Collection[str] = ()
) -> list[str]:
    """A sentence for each problem, without repeats.

    known_keys: dotted keys, for a suggestion where a key is unknown.
    tags: parts of a location that pydantic adds, such as the tag of a union; users write no such
    key.
    """
    found = (_sentence(p, known_keys, tags) for p in error.errors(include_url=False))
    return list(dict.fromkeys(found))


def _sentence(problem: Any, known_keys: Collection[str], tags: Collection[str]) -> str:
    path = [str(part) for part in problem["loc"] if part not in tags and "[" not in str(part)]
    key, kind = ".".join(path), problem["type"]
    if kind == "extra_forbidden":
        return f"unknown key {key!r}; the nearest known one is {nearest(key, known_keys)!r}"
    if kind == "missing":
        return f"{key}: missing; this key has no default"
    if kind == "value_error":
        message = str(problem["ctx"]["error"])
        return message if not key or message.startswith(key.split(".")[0]) else f"{key}: {message}"
    if kind == "json_invalid":
        return f"not JSON ({problem['ctx']['error']})"
    expected = problem["msg"].removeprefix("Input should be ")
    if kind == "string_type" and isinstance(problem["input"], int | float | list):
        expected = "text; put it in quotes"
    return f"{key or 'content'}: {_shortened(problem['input'])} found; expected {expected}"


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_VALUE_LENGTH else text[: _MAX_VALUE_LENGTH - 3] + "..."
