"""The page of one run."""

from pathlib import Path
from typing import Any

from gantrain.common.files import write_text
from gantrain.report.page import build_page
from gantrain.report.rundata import RunData, read_run
from gantrain.report.thumbnails import as_data_url, spread

PAGE = "report.html"
_MOST_GRIDS = 60
_PICTURE_BYTES = 3_000_000  # of all grids, as they lie in the page
_SIDE = 800  # pixels of a grid


def write_run_page(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a run directory, `report.html` in it unless `path` says; gives the path.

    Raises UserError if the folder is no run directory.
    """
    run = read_run(folder)
    path = path or folder / PAGE
    name = folder.resolve().name
    data = {"name": name, **_data_of(run)}
    scripts = ("uplot", "page", "curves", "run")
    write_text(path, build_page("run", f"{name} · gantrain", data, scripts))
    return path


def _data_of(run: RunData) -> dict[str, Any]:
    grids = _grids_of(run)
    return {
        "status": run.status,
        "config": [
            [key, _short(value), _short(run.changed[key]) if key in run.changed else None]
            for key, value in run.config.items()
        ],
        "config_text": run.config_text,
        "images": run.images,
        "curves": run.curves,
        "events": run.events,
        "grids": [[images, url] for images, url in grids],
        "grids_total": len(run.grids),
        "real": as_data_url(run.real, side=_SIDE) if run.real else None,
        "notes": run.notes,
    }


def _grids_of(run: RunData) -> list[tuple[int, str]]:
    chosen = spread(run.grids, _MOST_GRIDS)
    urls = [(images, as_data_url(path, side=_SIDE)) for images, path in chosen]
    found = [(images, url) for images, url in urls if url is not None]
    while len(found) > 2 and sum(len(url) for _, url in found) > _PICTURE_BYTES:
        found = spread(found, max(2, len(found) * 3 // 4))
    return found


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_short, value)) + "]"
    if value is None:
        return "—"
    return f"{value:g}" if isinstance(value, float) else str(value)
