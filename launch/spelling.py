"""Names that look like numbers: an account 0123 or a partition 1e5 stays as the user wrote it."""

from collections.abc import Collection, Mapping
from typing import Any


def keep_spelling(
    tree: Mapping[str, Any], written: Mapping[str, Any], keys: Collection[str]
) -> dict[str, Any]:
    """Return the tree with the numbers at these keys, or in lists or mappings there, as text.

    written: the same tree as load_yaml_text returns it.
    """
    return {k: _spelled(v, written.get(k, v)) if k in keys else v for k, v in tree.items()}


def _spelled(value: Any, written: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _spelled(v, written.get(k, v)) for k, v in value.items()}
    if isinstance(value, list):
        return [_spelled(v, w) for v, w in zip(value, written, strict=True)]
    return written if isinstance(value, int | float) and not isinstance(value, bool) else value
