"""Turns pydantic's errors into sentences for users: key, value found, what was expected."""

import difflib
import math
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from gantrain.common.expectations import (
    Place,
    describe,
    hint,
    known_keys,
    locate,
    one_of,
    quoted,
    schema_of,
)


def nearest(key: str, known: Iterable[str]) -> str:
    """The known key that looks most like this one."""
    return difflib.get_close_matches(key, list(known), n=1, cutoff=0.0)[0]


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    explain_unknown: Callable[[str], str] | None = None,
) -> list[str]:
    """A sentence without a full stop for each problem, in the words of users, without repeats.

    model: the one that raised the error.
    explain_unknown: the sentence for an unknown dotted key; by default one with the nearest key.
    """
    explain = explain_unknown or (lambda key: _suggest_nearest(key, model))
    sentences: dict[str, None] = {}
    values: dict[str, list[tuple[Any, Place]]] = {}
    for problem in error.errors(include_url=False):
        sentence = _other_problem(problem, model, explain)
        if sentence is not None:
            sentences[sentence] = None
        else:
            place = locate(model, problem["loc"])
            values.setdefault(place.field, []).append((problem["input"], place))
    for found in values.values():
        # A value that fits no member of a union is a problem for each member.
        whole = [each for each in found if each[1].key == each[1].field]
        for value, place in whole[:1] or found:
            sentences[_invalid_value(value, place, model)] = None
    return list(sentences)


def _invalid_value(value: object, place: Place, model: type[BaseModel]) -> str:
    expected = describe(place.node, schema_of(model))
    if isinstance(value, float) and not math.isfinite(value):
        expected = expected.replace("a number", "a finite number")
    advice = hint(place.node, schema_of(model), value)
    return _found(place.key, value, expected, advice)


def _found(key: str, value: object, expected: str, advice: str) -> str:
    advice = f"; {advice}" if advice else ""
    return f"{key or 'content'}: {quoted(value)} found; expected {expected}{advice}"


def _other_problem(
    problem: Any, model: type[BaseModel], explain_unknown: Callable[[str], str]
) -> str | None:
    """The sentence for anything but a value that its key may not have."""
    kind, location = problem["type"], problem["loc"]
    if kind in ("extra_forbidden", "invalid_key"):
        *sections, last = location
        section = locate(model, sections).key
        return explain_unknown(f"{section}.{last}" if section else str(last))
    place = locate(model, location)
    if kind == "missing" and isinstance(location[-1], int):  # of a list that is too short
        return _invalid_value(problem["input"], locate(model, location[:-1]), model)
    if kind == "missing":
        expected = describe(place.node, schema_of(model))
        return f"{place.key}: missing; this key has no default; expected {expected}"
    if kind == "value_error":
        message = str(problem["ctx"]["error"])
        stated = not place.key or message.startswith(place.key.split(".")[0])
        return message if stated else f"{place.key}: {message}"
    if kind == "union_tag_invalid":
        name = str(problem["ctx"]["discriminator"]).strip("'")
        tags = list(place.node["discriminator"]["mapping"])
        advice = hint({"enum": tags}, {}, str(problem["input"][name]))
        return _found(f"{place.key}.{name}", problem["input"][name], one_of(tags), advice)
    if kind == "json_invalid":
        return f"not JSON ({problem['ctx']['error']})"
    return None


def _suggest_nearest(key: str, model: type[BaseModel]) -> str:
    return f"unknown key {key!r}; the nearest known one is {nearest(key, known_keys(model))!r}"
