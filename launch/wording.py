"""How mistakes in the launcher's own files are told."""

import difflib
from collections.abc import Iterable

from pydantic import BaseModel, ValidationError


def nearest(key: str, known: Iterable[str]) -> str:
    """The known key that looks most like this one."""
    return difflib.get_close_matches(key, list(known), n=1, cutoff=0.0)[0]


def problems_of(error: ValidationError, model: type[BaseModel]) -> str:
    """A ValidationError as one line for people: key, value, what was expected."""
    sentences = []
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"] if "[" not in str(part))
        if problem["type"] == "extra_forbidden":
            near = nearest(key.split(".")[0], model.model_fields)
            sentences.append(f"unknown key {key!r}; the nearest known one is {near!r}")
        elif problem["type"] == "missing":
            sentences.append(f"{key}: missing; this key has no default")
        elif problem["type"] == "value_error":
            sentences.append(f"{key}: {problem['ctx']['error']}")
        else:
            expected = problem["msg"].removeprefix("Input should be ")
            sentences.append(f"{key}: {problem['input']!r} found; expected {expected}")
    return "; ".join(dict.fromkeys(sentences)) + "."
