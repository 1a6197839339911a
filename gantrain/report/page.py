"""One HTML file from the assets beside this module and the page's data."""

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
    allowed: str = "",
) -> str:
    """The page of the body `assets/NAME.html`, with styles, scripts and data inside it.

    scripts, styles: files of assets, in order; `page.js` has what all scripts use, and all pages
    have `uplot.css` and `page.css`. A content security policy forbids the page to ask any host for
    anything; allowed: what this one may do beside that, as the policy is written.
    """
    parts = {
        "@body@": _asset(f"{name}.html"),
        "@allowed@": allowed,
        "@title@": html.escape(title),
        "@styles@": "".join(_asset(f"{style}.css") for style in ("uplot", "page", *styles)),
        "@scripts@": "\n".join(_asset(f"{script}.js") for script in scripts),
        "@data@": as_script_data(data),
    }
    page = _asset("frame.html")
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
