"""The HTML page of one run."""

import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.files import write_text
from gantrain.common.grids import tile, tile_square
from gantrain.config.quality import interval_names
from gantrain.config.schedules import describe
from gantrain.health.verdict import FLOOR_EVENT
from gantrain.inference.classes import COLUMNS, row_classes, sample_rows
from gantrain.inference.export import Loaded
from gantrain.inference.sampling import sample_images
from gantrain.models.conditioning import Conditioning
from gantrain.report.charts import choose_charts, diagnosis_bands
from gantrain.report.page import build_page
from gantrain.report.run_data import RunData, read_run
from gantrain.report.thumbnails import as_data_url, encode, pick_evenly
from gantrain.runs.checkpoint import read_state
from gantrain.runs.generator_file import read_generator, read_measured
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.origin import START_COLUMNS, origin_rows, start_rows
from gantrain.runs.paths import GENERATOR, GENERATOR_BEST, RUN_PAGE, list_checkpoints

_MAX_GRIDS = 60
_MAX_GRID_BYTES = 3_000_000  # of all grids on the page, encoded
_GRID_SIDE = 800  # pixels
_SAMPLES = 64


def write_run_page(
    run_dir: Path, path: Path | None = None, generator: Loaded | None = None
) -> Path:
    """Write the page of a run to `path`, or to report.html in the run directory; return the path.

    generator: one of the run's, to show with its samples and with what was measured of it.

    Raises UserError if the folder is not a run directory.
    """
    run = read_run(run_dir)
    path = path or run_dir / RUN_PAGE
    name = run_dir.resolve().name
    scripts = ("uplot", "page", "axes", "timeline", "curves", "bands", "run")
    data = {"name": name, **_page_data(run), "generator": generator and _show(generator, run_dir)}
    page = build_page("run", f"{name} · gantrain", data, scripts)
    write_text(path, page)
    return path


def _page_data(run: RunData) -> dict[str, Any]:
    """Return the page's data as plain values; assets/run.js reads these keys."""
    overview = run.overview
    charts = choose_charts(list(run.curves), run.verdict, run.floor.scores)
    return {
        "state": "silent" if overview.silence else overview.state,
        "headline": overview.headline,
        "written": time.time(),
        "origin": origin_rows(overview.attempts),
        "starts": [START_COLUMNS, *start_rows(overview.attempts, overview.updated)],
        "status": run.status,
        "config": [
            [key, _format(value), _format(run.changed[key]) if key in run.changed else None]
            for key, value in run.config.items()
        ],
        "config_text": run.config_text,
        "images": run.images,
        "seconds": run.seconds,
        "curves": run.curves,
        "charts": asdict(charts),
        "bands": [asdict(band) for band in diagnosis_bands(run.events, run.images)],
        "events": [event for event in run.events if event["event"] != FLOOR_EVENT],
        "grids": _encode_grids(run),
        "rows": _grid_rows(run),
        "real": as_data_url(run.real, side=_GRID_SIDE) if run.real else None,
        "notes": run.notes,
        "best": _best(run.run_dir),
    }


def _best(run_dir: Path) -> dict[str, Any] | None:
    best = read_measured(run_dir / GENERATOR_BEST)
    return None if best is None else asdict(best)


def _show(loaded: Loaded, run_dir: Path) -> dict[str, Any]:
    """Return samples of a generator, and the metrics of exactly its weights."""
    lines = [x for x in read_metrics(run_dir) if x["images_seen"] == loaded.images_seen]
    logged = {name: value for line in lines for name, value in line.items()}
    measured = {name: value for name, value in logged.items() if name.startswith("quality/")}
    if loaded.measured is not None:
        measured.setdefault(loaded.measured.metric, loaded.measured.value)
    rows = row_classes(loaded.generator)
    if rows:
        images = sample_rows(loaded.generator, rows, COLUMNS, 0)
        samples = tile(images, len(rows), COLUMNS)
    else:
        samples = tile_square(sample_images(loaded.generator, _SAMPLES, 0))
    return {
        "file": loaded.path.name,
        "images_seen": loaded.images_seen,
        "samples": encode(samples, side=_GRID_SIDE),
        "rows": rows,
        "measured": measured,
        "intervals": {
            name: [logged[end] for end in interval_names(name)]
            for name in measured
            if all(end in logged for end in interval_names(name))
        },
    }


def _grid_rows(run: RunData) -> list[str]:
    """Return the keys of the classes of the rows of the grids; empty without conditioning."""
    shape = run.config.get("output.grid")
    if run.config.get("conditioning.kind", "none") == "none" or not isinstance(shape, list):
        return []
    for _, folder in list_checkpoints(run.run_dir):
        with suppress(UserError):
            return Conditioning(class_counts=read_state(folder).class_counts).row_names(shape[0])
    with suppress(UserError):
        file = read_generator(run.run_dir / GENERATOR, header_only=True)
        return Conditioning(class_counts=file.class_counts).row_names(shape[0])
    return []


def _encode_grids(run: RunData) -> list[tuple[int, str]]:
    """Return images seen and the data URL of grids, fewer of them if the page would be too large.

    Unreadable grids are left out.
    """
    selected = pick_evenly(run.grids, _MAX_GRIDS)
    urls = [(images, as_data_url(path, side=_GRID_SIDE)) for images, path in selected]
    grids = [(images, url) for images, url in urls if url is not None]
    while len(grids) > 2 and sum(len(url) for _, url in grids) > _MAX_GRID_BYTES:
        grids = pick_evenly(grids, max(2, len(grids) * 3 // 4))
    return grids


def _format(value: Any) -> str:
    value = describe(value)  # the schedules in it
    if isinstance(value, list):
        return "[" + ", ".join(map(_format, value)) + "]"
    if value is None:
        return "—"
    return f"{value:g}" if isinstance(value, float) else str(value)
