"""Config values as short text."""

from typing import Any

from launch.plan import ABSENT


def format_value(value: Any) -> str:
    """Return a config value as short text."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return "[" + ", ".join(format_value(v) for v in value) + "]"
    return ABSENT if value is None else str(value)
