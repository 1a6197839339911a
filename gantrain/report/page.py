"""One HTML file from the assets beside this module and the page's data."""

import html
import json
import math
from importlib import resources
from typing import Any


def build_page(template: str, title: str, data: object, scripts: tuple[str, ...]) -> str:
    """The page `assets/TEMPLATE.html` with styles, scripts and data inside it.

    A content security policy forbids it to ask any host for anything.
    """
    parts = {
        "@title@": html.escape(title),
        "@styles@": _asset("uplot.css") + _asset("page.css"),
        "@scripts@": "\n".join(_asset(f"{name}.js") for name in scripts),
        "@data@": as_script_data(data),
    }
    page = _asset(f"{template}.html")
    for mark, content in parts.items():
        page = page.replace(mark, content)
    return page


def as_script_data(data: object) -> str:
    """JSON that cannot end the script element that holds it; NaN and infinity become null."""
    text = json.dumps(_plain(data), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("@", "\\u0040")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _asset(name: str) -> str:
    return resources.files("gantrain.report").joinpath("assets", name).read_text(encoding="utf-8")
