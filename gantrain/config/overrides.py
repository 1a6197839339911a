"""Settings given as `dotted.key=value`, which replace those of a config file."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.expectations import is_text, known_keys, locate
from gantrain.common.records import is_number
from gantrain.common.yaml_core import load_yaml
from gantrain.config.objectives import sections_by_kind
from gantrain.config.schema import Config, current_key
from gantrain.config.suggestions import explain_unknown

_FORM = "expected dotted.key=value, as in seed=1"


def apply_overrides(tree: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Return a config tree with these overrides applied.

    Raises UserError naming the first word that is not `dotted.key=value`, whose key does not
    exist, or whose value is not YAML; it says what to write instead.
    """
    changed = dict(tree)
    for word in words:
        key, value = _parse(word)
        *sections, last = key.split(".")
        parent, path = changed, ""
        for section in sections:
            path = f"{path}.{section}" if path else section
            try:
                parent[section] = section_at(path, parent.get(section))
            except ValueError as error:
                raise UserError(f"Override {word!r}: {error}.") from None
            parent = parent[section]
        parent[last] = value
    return changed


def section_at(path: str, value: object) -> dict[str, Any]:
    """Return a copy of the section at a dotted key of a config tree, to set a key inside it.

    value: the section; None if there is none yet. A number that may be a schedule becomes one that
    starts from it, or from the key's default if that is a number whatever objective.kind is.

    Raises ValueError with a sentence without a full stop if the value cannot be a section.
    """
    if isinstance(value, Mapping):
        return dict(value)
    scheduled = f"{path}.from" in known_keys(Config)
    if value is None:
        default = _default(path) if scheduled else None
        return {"from": default} if is_number(default) else {}
    if scheduled and is_number(value):
        return {"from": value}
    raise ValueError(f"{path!r} is a value, not a section")


def _default(path: str) -> object:
    """Return the default of a key; None if the values of objective.kind have different ones."""
    section, _, name = path.partition(".")
    if section != "objective":
        return locate(Config, path.split(".")).node.get("default")
    fields = (each.model_fields.get(name) for each in sections_by_kind().values())
    defaults = {field.default for field in fields if field is not None}
    return defaults.pop() if len(defaults) == 1 else None


def overridden_keys(words: Sequence[str]) -> dict[str, str]:
    """Return the override that sets each key."""
    return {current_key(word.partition("=")[0].strip()): word for word in words}


def _parse(word: str) -> tuple[str, Any]:
    if not word.isprintable() and any("\ud800" <= character <= "\udfff" for character in word):
        raise UserError(
            f"Override {word!r}: not text in this locale's encoding; use a UTF-8 locale such as "
            "LC_ALL=C.UTF-8, and names in UTF-8."
        )
    key, sign, text = word.partition("=")
    key, text = key.strip(), text.strip()
    if word.startswith("-") or not sign or not key:
        raise UserError(f"Override {word!r}: {_correction(word)}.")
    if not all(key.split(".")):
        raise UserError(f"Override {word!r}: a name beside a dot in {key!r} is missing; {_FORM}.")
    key = current_key(key)
    if key not in known_keys(Config):
        parent = key.rpartition(".")[0]
        if parent in known_keys(Config) and parent not in _sections():
            raise UserError(f"Override {word!r}: {parent!r} is a value, not a section.")
        raise UserError(f"Override {word!r}: {explain_unknown(key)}.")
    try:
        value = load_yaml(text)
    except ValueError as error:
        if is_text(Config, key) and text[:1] not in "'\"[{":
            return key, text
        raise UserError(f"Override {word!r}: the value is not valid YAML: {error}.") from None
    # What YAML would read as a number, a mapping or true is text where only text is possible.
    literal = value is not None and not isinstance(value, str) and text[:1] not in "[{"
    return key, text if literal and is_text(Config, key) else value


def _correction(word: str) -> str:
    match = re.fullmatch(r"-*\s*([\w.-]*?)\s*(?:[=:]\s*(.*))?", word, re.DOTALL)
    key, value = match.groups() if match else (word, None)
    key = (key or "").replace("-", "_")
    if word.endswith((".yaml", ".yml", ".json")):
        return f"{_FORM}; a config file follows --config"
    if not key or not all(key.split(".")):
        return f"{_FORM}" if key else f"no key before '='; {_FORM}"
    if current_key(key) not in known_keys(Config):
        return f"{_FORM}; {explain_unknown(key)}"
    return f"{_FORM}; write {key}={value or 'VALUE'}"


def _sections() -> set[str]:
    return {key.rpartition(".")[0] for key in known_keys(Config)}
