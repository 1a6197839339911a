"""Settings by dotted key, as sweep files write them: apply them to a config, compare them."""

from collections.abc import Iterable, Mapping
from typing import Any

from gantrain.common.records import flatten
from gantrain.config.overrides import section_at

Settings = dict[str, Any]  # dotted keys of the training config to values


def split_keys(keys: str) -> list[str]:
    """Return the dotted keys that one entry of a sweep file sets together."""
    return [key.strip() for key in keys.split(",")]


def apply_settings(tree: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a config tree with these settings applied; `a.x,b.x: 1` sets both keys.

    Raises ValueError naming the key if it is inside something that is not a section.
    """
    changed: dict[str, Any] = _copy(tree)
    for keys, value in settings.items():
        for key in split_keys(keys):
            *sections, last = key.split(".")
            parent, path = changed, ""
            for section in sections:
                path = f"{path}.{section}" if path else section
                if not isinstance(parent.get(section), dict):
                    try:
                        parent[section] = section_at(path, parent.get(section))
                    except ValueError:
                        raise ValueError(
                            f"{key}: {section} is {parent[section]!r}; expected a section"
                        ) from None
                parent = parent[section]
            parent[last] = _copy(value)
    return changed


def flat_settings(settings: Mapping[str, Any]) -> Settings:
    """Return one value for each dotted key: joined keys separated, sections flattened."""
    flat: Settings = {}
    for keys, value in settings.items():
        for key in split_keys(keys):
            inner = flatten({key: value}) if isinstance(value, Mapping) else {key: value}
            # A section replaces what an earlier key set inside it.
            flat = {k: v for k, v in flat.items() if not is_inside(k, key)} | inner
    return flat


def is_inside(key: str, section: str) -> bool:
    """Return whether a dotted key is a section's own key or one inside it."""
    return key == section or key.startswith(section + ".")


def matches(point: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    """Return whether a point has all the values of a rule: a value or a list of values per key.

    point: as flat_settings returns it.
    """
    for keys, value in rule.items():
        for key in split_keys(keys):
            found = _value_at(point, key)
            several = value if isinstance(value, list) else []
            if found is _MISSING or not any(same_value(found, v) for v in (value, *several)):
                return False
    return True


def same_value(first: Any, second: Any) -> bool:
    """Return whether two values are equal; numbers compare as numbers, also as quoted text."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(same_value(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same_value, first, second))
    if isinstance(first, int | float) or isinstance(second, int | float):
        numbers = (_number(first), _number(second))
        return numbers[0] is not None and numbers[0] == numbers[1]
    return bool(first == second)


def repeated_key(entries: Iterable[str]) -> str | None:
    """Return the first dotted key that these entries of a sweep file set twice."""
    seen: set[str] = set()
    for key in (key for entry in entries for key in split_keys(entry)):
        if key in seen:
            return key
        seen.add(key)
    return None


_MISSING = object()


def _value_at(point: Mapping[str, Any], key: str) -> Any:
    if key in point:
        return point[key]
    section = {k.removeprefix(key + "."): v for k, v in point.items() if is_inside(k, key)}
    return section or _MISSING


def _number(value: Any) -> float | None:
    if isinstance(value, int | float):
        return value
    try:
        return float(value) if isinstance(value, str) and "_" not in value else None
    except ValueError:
        return None


def _copy(value: Any) -> Any:
    if isinstance(value, dict):  # isinstance(value, Mapping) is slow, and plans have 10,000 runs
        return {key: _copy(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, list) else value
