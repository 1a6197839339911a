"""Classes that the samples of other tools' tars state: in members such as `cls`, or in JSON."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from gantrain.common.errors import UserError
from gantrain.common.text import printable
from gantrain.data.importing.splits import customary_split

# Where a sample may state its class: members by extension, then keys of its JSON.
CLASS_MEMBERS = ("cls", "cls.txt", "class", "class.txt", "label", "label.txt")
CLASS_KEYS = (
    *("part", "class_name", "label_name", "category_name", "label", "class", "cls", "category"),
    *("target", "class_id", "label_id", "class_idx", "label_idx", "category_id"),
)
SPLIT = "split"  # the key of JSON; its values are names such as "train" or "val"
MAX_LABEL_BYTES = 16 << 20

_MAX_NAME = 200  # characters of a class; longer texts are captions
_MAX_KEYS = 100  # of JSON, for a message


class NoClass(NamedTuple):
    """A value that is neither a name nor an integer; `shown` is for a message."""

    shown: str


# What a sample states: by the extension of the member with its dot, or by the key of the JSON.
Stated = dict[str, str | NoClass]


def is_class_member(extension: str, label: str | None) -> bool:
    """Return whether the members of this extension may state classes.

    label: the only field to read, as a user gave it; None reads all customary ones.
    """
    return extension == _extension(label) if label is not None else extension in CLASS_MEMBERS


def _extension(label: str) -> str:
    return label.lower().removeprefix(".")


def member_field(content: bytes) -> str | NoClass:
    """Return the class in the content of a member such as `cls`."""
    try:
        return _class_of(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return NoClass(repr(content[:20]))


def fields_of_json(content: bytes, label: str | None) -> tuple[Stated, list[str]]:
    """Return what a sample's JSON states, and the keys in it, of which at most 100.

    label: see `is_class_member`; dots lead into nested objects.

    Raises UserError if it is not a JSON object.
    """
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not JSON ({error})") from None
    if not isinstance(tree, dict):
        raise UserError("not a JSON object")
    stated: Stated = {}
    for key in CLASS_KEYS if label is None else (label,):
        value = _look_up(tree, key)
        if value is not None:
            stated[key] = _class_of(value)
    split = tree.get(SPLIT)
    if isinstance(split, str) and customary_split(split) is not None and SPLIT not in stated:
        stated[SPLIT] = split
    return stated, [printable(key) for key in list(tree)[:_MAX_KEYS]]


def _look_up(tree: dict[str, Any], key: str) -> object:
    if key in tree:
        return tree[key]
    first, dot, rest = key.partition(".")
    inner = tree.get(first)
    return _look_up(inner, rest) if dot and isinstance(inner, dict) else None


def _class_of(value: object) -> str | NoClass:
    """Return the class that a value names: text on one line, or an integer."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        text = value.strip()
        if text and text.isprintable() and len(text) <= _MAX_NAME:
            return text
    shown = repr(value)
    return NoClass(shown if len(shown) <= 80 else f"{shown[:79]}…")


def choose_field(stated: Iterable[Stated], label: str | None) -> str | None:
    """Return the field that most samples state a class in; None if there is none.

    Of fields that equally many samples have, the first of CLASS_MEMBERS and CLASS_KEYS. Fields
    with values that are no classes come last.
    """
    members = CLASS_MEMBERS if label is None else (_extension(label),)
    names = [*(f".{name}" for name in members), *(CLASS_KEYS if label is None else (label,))]
    valid, counts = Counter[str](), Counter[str]()
    for each in stated:
        counts.update(each.keys())
        valid.update(name for name, value in each.items() if isinstance(value, str))
    present = [name for name in names if name in counts]
    return max(present, key=lambda name: (valid[name], counts[name]), default=None)


def classes_in(stated: Sequence[Stated], field: str) -> tuple[list[str | None], dict[int, str]]:
    """Return the class of each sample, None for none, and invalid values by sample."""
    values = [each.get(field) for each in stated]
    invalid = {i: value.shown for i, value in enumerate(values) if isinstance(value, NoClass)}
    return [None if isinstance(value, NoClass) else value for value in values], invalid
