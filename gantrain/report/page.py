"""Builds self-contained HTML pages from assets/ and data."""

import html
import json
import math
from importlib import resources
from typing import Any


def build_page(
    name: str,
    title: str,
    data: object,
    scripts: tuple[str, ...],
    *,
    styles: tuple[str, ...] = (),
    policy: str = "",
) -> str:
    """Return the page with the body `assets/NAME.html`, and styles, scripts and data inline.

    scripts, styles: names of assets, in order. All scripts need `page.js` before them. Every page
    has `uplot.css` and `page.css`.
    policy: appended to the content security policy, which otherwise forbids all requests.
    """
    parts = {
        "@body@": _asset(f"{name}.html"),
        "@policy@": policy,
        "@title@": html.escape(title),
        "@styles@": "".join(_asset(f"{style}.css") for style in ("uplot", "page", *styles)),
        "@scripts@": "\n".join(_asset(f"{script}.js") for script in scripts),
        "@data@": encode_data(data),
    }
    page = _asset("frame.html")
    for placeholder, content in parts.items():
        page = page.replace(placeholder, content)
    return page


def encode_data(data: object) -> str:
    """Return JSON that is safe inside a script element; NaN and infinity become null."""
    text = json.dumps(_to_json(data), separators=(",", ":"), allow_nan=False)
    # "<" could end the element, "@" could look like a placeholder.
    return text.replace("<", "\\u003c").replace("@", "\\u0040")


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _asset(name: str) -> str:
    return resources.files("gantrain.report").joinpath("assets", name).read_text(encoding="utf-8")
