"""Says in plain words which values a key of a pydantic model may have, from its JSON schema."""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

Node = Mapping[str, Any]  # a part of a JSON schema

_SHOWN_KEYS = 3  # of a section, in the words that describe it
_SWITCHES = {
    **dict.fromkeys(("true", "yes", "on", "y", "1"), "true"),
    **dict.fromkeys(("false", "no", "off", "n", "0"), "false"),
}

_OFF = ("disabled", "no", "off")
# What other tools call a choice, and what it is called here; the first that can be chosen is meant.
_CHOICES = {
    **dict.fromkeys(("none", "off", "no", "false", "disable"), _OFF),
    **dict.fromkeys(("gpu", "nvidia"), ("cuda",)),
    **dict.fromkeys(("fp32", "float32", "full", "32"), ("no",)),
    **dict.fromkeys(("float16", "half", "amp", "16"), ("fp16",)),
    "bfloat16": ("bf16",),
}


@dataclass(frozen=True)
class Place:
    """A key of a model.

    key: dotted, with the index of a list's item at its end. node: its schema. field: the key of the
    whole list; otherwise equal to `key`.
    """

    key: str
    field: str
    node: Node


@cache
def schema_of(model: type[BaseModel]) -> Node:
    """Return the JSON schema of what the model accepts."""
    return model.model_json_schema()


@cache
def known_keys(model: type[BaseModel]) -> tuple[str, ...]:
    """Return every dotted key that the model may have, sections included."""
    return tuple(dict.fromkeys(_keys_in(schema_of(model), schema_of(model), "")))


def locate(model: type[BaseModel], location: Sequence[str | int]) -> Place:
    """Find the key at a location of a pydantic error, which also names members of unions."""
    root = node = schema_of(model)
    key, field = "", None
    for part in location:
        step = _step(node, root, part)
        if step is None:  # the member of a union, or pydantic's mark of a key
            continue
        node = step
        if isinstance(part, int):
            field = key if field is None else field
        key += f".{part}" if key else str(part)
    return Place(key, key if field is None else field, _resolve(node, root))


def accepts_path(model: type[BaseModel], key: str) -> bool:
    """Return whether a dotted key's value may be a path."""
    return any(option.get("format") == "path" for option in _options_at(model, key))


def is_text(model: type[BaseModel], key: str) -> bool:
    """Return whether a dotted key's value is text or a path, without fixed choices, or null."""
    options = _options_at(model, key)
    return all(
        option.get("type") in ("string", "null") and "enum" not in option for option in options
    )


def _options_at(model: type[BaseModel], key: str) -> list[Node]:
    root = schema_of(model)
    return list(_options(locate(model, key.split(".")).node, root))


def describe(node: Node, root: Node) -> str:
    """Return what is expected at a node, such as `a number greater than 0, or null`."""
    if "expected" in node:
        return str(node["expected"])
    if (tags := _resolve(node, root).get("discriminator", {}).get("mapping")) is not None:
        return f"a section with {node['discriminator']['propertyName']}: {one_of(tags)}"
    options = [option for option in _options(node, root) if option.get("type") != "null"]
    words = list(dict.fromkeys(_describe_one(option, root) for option in options))
    if len(options) < len(list(_options(node, root))):
        words.append("null")
    return ", or ".join(words) or "another value"


def hint(node: Node, root: Node, value: object) -> str:
    """Return how to write a value that was probably meant, as in `write 64`; else nothing."""
    options = list(_options(node, root))
    types = {option.get("type") for option in options}
    choices = [each for option in options for each in _choices(option)]
    if value is None and "null" not in types:
        return "give it a value, or leave the key out"
    if isinstance(value, str):
        text = value.strip()
        near = [c for c in _CHOICES.get(text.lower(), ()) if c in choices]
        near += difflib.get_close_matches(text.lower(), [c for c in choices if isinstance(c, str)])
        if near:
            return f"did you mean {near[0]}?"
        if "boolean" in types:
            return f"write {_SWITCHES[text.lower()]}" if text.lower() in _SWITCHES else ""
        if (types & {"integer", "number"}) and (number := _number_in(text)) is not None:
            whole = number.is_integer() and "integer" in types
            plain = str(int(number)) if whole else f"{number:g}"
            return f"write {plain}" + (" without quotes" if plain == text else "")
    elif isinstance(value, float) and "integer" in types and value.is_integer():
        return f"write {int(value)}" if abs(value) < 1e15 else ""
    elif isinstance(value, int) and "boolean" in types and value in (0, 1):
        return f"write {'true' if value else 'false'}"
    elif isinstance(value, bool | int | float | list) and "string" in types and not choices:
        return f'put it in quotes if it is text: "{quoted(value)}"'
    scalar = isinstance(value, str | int | float) and not isinstance(value, bool)
    if types == {"array"} and scalar and "items" in options[0]:
        return f"write [{value}]"
    return ""


def one_of(choices: Iterable[object]) -> str:
    """Return `a, b or c`."""
    *others, last = map(str, choices)
    return f"{', '.join(others)} or {last}" if others else last


def quoted(value: object, limit: int = 200) -> str:
    """Return a value as a message quotes it: as YAML has it, in at most `limit` characters."""
    text = _as_yaml(value, 0)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _as_yaml(value: object, depth: int) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list() | tuple() | dict() if depth > 4:  # it may contain itself
            return "..."
        case list() | tuple():
            return f"[{', '.join(_as_yaml(each, depth + 1) for each in value)}]"
        case dict():
            pairs = [f"{k}: {_as_yaml(each, depth + 1)}" for k, each in value.items()]
            return f"{{{', '.join(pairs)}}}"
    return repr(value)


def _number_in(text: str) -> float | None:
    try:
        number = float(text)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _resolve(node: Node, root: Node) -> Node:
    while "$ref" in node:
        target: Any = root
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def _options(node: Node, root: Node) -> Iterator[Node]:
    """Yield the members of a union, or the node itself."""
    node = _resolve(node, root)
    members = node.get("anyOf") or node.get("oneOf")
    if not members:
        yield node
    else:
        for member in members:
            yield from _options(member, root)


def _step(node: Node, root: Node, part: str | int) -> Node | None:
    for option in _options(node, root):
        if isinstance(part, int):
            if option.get("type") == "array":
                items: Sequence[Node] = option.get("prefixItems", [])
                rest: Node = option.get("items", {})
                return items[part] if part < len(items) else rest
            continue
        if part in option.get("properties", {}):
            found: Node = option["properties"][part]
            return found
        values: Node | bool = option.get("additionalProperties", False)
        if values is not False and part != "[key]":
            return values if isinstance(values, Mapping) else {}
    return None


def _keys_in(node: Node, root: Node, prefix: str) -> Iterator[str]:
    for option in _options(node, root):
        for name, inner in option.get("properties", {}).items():
            yield prefix + name
            yield from _keys_in(inner, root, f"{prefix}{name}.")


def _describe_one(node: Node, root: Node) -> str:
    if "expected" in node:
        return str(node["expected"])
    if choices := _choices(node):
        return one_of(choices)
    match node.get("type"):
        case "integer":
            if "multipleOf" in node:
                return f"a multiple of {node['multipleOf']}{_range(node)}"
            return f"a whole number{_range(node)}"
        case "number":
            return f"a number{_range(node)}"
        case "boolean":
            return "true or false"
        case "string":
            pattern = f" that matches {node['pattern']}" if "pattern" in node else ""
            return "a path" if node.get("format") == "path" else f"text{pattern}"
        case "array":
            return _describe_list(node, root)
        case "object":
            names = list(node.get("properties", {}))
            if names:
                more = " and others" if len(names) > _SHOWN_KEYS else ""
                return f"a section with the keys {', '.join(names[:_SHOWN_KEYS])}{more}"
            return "a section of lines `key: value`"
    return "another value"


def _choices(node: Node) -> Sequence[object]:
    return [node["const"]] if "const" in node else node.get("enum", [])


def _describe_list(node: Node, root: Node) -> str:
    items = [describe(item, root) for item in node.get("prefixItems", [])]
    if not items:
        least = " with one item or more" if node.get("minItems") else ""
        each = describe(node["items"], root) if node.get("items") else ""
        return f"a list{least}" + (f", each item {each}" if each else "")
    if len(set(items)) == 1:
        return f"a list of {len(items)}, each item {items[0]}"
    return f"a list of {len(items)}: " + ", ".join(items)


def _range(node: Node) -> str:
    if "minimum" in node and "maximum" in node:
        return f" from {_plain(node['minimum'])} to {_plain(node['maximum'])}"
    words = {
        "minimum": "greater than or equal to",
        "exclusiveMinimum": "greater than",
        "maximum": "less than or equal to",
        "exclusiveMaximum": "less than",
    }
    limits = [f"{text} {_plain(node[key])}" for key, text in words.items() if key in node]
    return " " + " and ".join(limits) if limits else ""


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)
