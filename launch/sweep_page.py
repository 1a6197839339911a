"""The report command: a sweep as one HTML page that opens from disk."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gantrain.common.access import follow_group_access
from gantrain.common.files import write_text
from gantrain.common.records import is_number
from gantrain.health.verdict import Verdict
from gantrain.report.page import build_page
from gantrain.report.thumbnails import as_data_url, pick_evenly
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.paths import REAL_SAMPLES, SAMPLES, list_grids
from launch.curves import Curve, images_with, value_at
from launch.damage import describe, warn_of_damage
from launch.leaderboard import (
    Leaderboard,
    build_leaderboard,
    choose_direction,
    default_metric,
    doubts_of,
    logged_metrics,
    require_metric,
)
from launch.metric_names import Direction
from launch.plan import differences, differing_keys, run_name, short_names
from launch.quality import verdict_on
from launch.settings import read_ranking
from launch.states import RunState, with_damaged_metrics
from launch.status_commands import find_status
from launch.sweep_curves import curves_of, link_to_run, write_run_pages
from launch.sweepdir import run_dir

PAGE = "report.html"
_MAX_SAMPLE_BYTES = 12_000_000  # of all samples on the page
_MAX_COLUMNS = 16  # points in time
_TILES = 4  # rows and columns of a sample grid that are shown
_MAX_DATA_SETS = 4  # whose real images are shown
_SCRIPTS = ("uplot", "page", "axes", "scale", "overlay", "parallel", "wall", "sweep")
_SIDE = 160  # largest width and height of a run's samples, in pixels


def write_sweep_page(
    target: Path,
    metric: str | None,
    direction: Direction | None,
    kimg: float | None,
    out: Path | None,
    *,
    run_pages: bool = True,
) -> None:
    """Write the page of a sweep to `out`, or to report.html in its directory.

    run_pages: also write the pages of its runs that are missing or older than the runs' files.

    Raises UserError if the runs have logged metrics, but not this one.
    """
    sweep_dir, status = find_status(target)
    ranking = read_ranking(sweep_dir)
    runs = with_damaged_metrics(sweep_dir, status.runs)
    warn_of_damage(status, runs)
    logged = logged_metrics(sweep_dir, runs)
    board = None
    if logged:
        chosen = require_metric(metric or ranking.metric or default_metric(logged), logged)
        better = choose_direction(chosen, ranking.metric, ranking.direction, direction)
        board = build_leaderboard(sweep_dir, runs, chosen, better, kimg)
    path = out or sweep_dir / PAGE
    follow_group_access(path.parent)
    if run_pages:
        write_run_pages(sweep_dir, [run.run for run in runs])
    data = page_data(ranking.name, sweep_dir, runs, board, path)
    page = build_page("sweep", f"{ranking.name} · gantrain", data, _SCRIPTS, styles=("sweep",))
    write_text(path, page)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


def page_data(
    name: str,
    sweep_dir: Path,
    runs: Sequence[RunState],
    board: Leaderboard | None,
    path: Path | None = None,
) -> dict[str, Any]:
    """Return the page's data as plain values; assets/sweep.js reads these keys.

    path: of the page, from which its links lead; by default in the sweep's directory.
    """
    path = path or sweep_dir / PAGE
    metric = board.metric if board else None
    lines = {run.run: read_metrics(run_dir(sweep_dir, run.run)) for run in runs}
    verdicts = {run.run: verdict_on(sweep_dir, run, lines[run.run]) for run in runs if board}
    keys = [key for key in differing_keys([run.flat for run in runs]) if key != "seed"]
    names = short_names(keys)
    moments, samples = collect_samples(sweep_dir, runs)
    return {
        "name": name,
        "keys": [[key, names[key]] for key in keys],
        "board": _board_data(board),
        "moments": moments,
        "real": _real_images(sweep_dir, runs),
        "curves": curves_of(lines, metric, _floor_of(verdicts.values(), metric)),
        "runs": [
            {
                "id": run.run,
                "name": run_name(run.flat, keys) or run.run,
                "state": run.state,
                "reason": describe(run),
                "images": run.images,
                "total": run.total,
                "seed": run.flat.get("seed", 0),
                "values": list(differences(run.flat, keys).values()),
                **_measured(lines[run.run], verdicts.get(run.run), board),
                "page": link_to_run(sweep_dir, run.run, path),
                "wall": samples[run.run],
            }
            for run in runs
        ],
    }


def collect_samples(
    sweep_dir: Path, runs: Sequence[RunState]
) -> tuple[list[int], dict[str, list[str | None]]]:
    """Return images seen at each column, and each run's samples there as data URLs.

    All samples of a run are from the same latents. A sample is None where the run has not seen
    that many images. There are fewer columns if the page would become too large.
    """
    grids = {run.run: list_grids(run_dir(sweep_dir, run.run)) for run in runs}
    moments = pick_evenly(
        sorted({images for run_grids in grids.values() for images, _ in run_grids}), _MAX_COLUMNS
    )
    samples = {run.run: _samples_of_run(grids[run.run], run.flat, moments) for run in runs}
    while len(moments) > 2 and _total_length(samples) > _MAX_SAMPLE_BYTES:
        kept = pick_evenly(range(len(moments)), max(2, len(moments) * 3 // 4))
        moments = [moments[i] for i in kept]
        samples = {run: [column[i] for i in kept] for run, column in samples.items()}
    return moments, samples


def _samples_of_run(
    grids: Sequence[tuple[int, Path]], flat: dict[str, Any], moments: Sequence[int]
) -> list[str | None]:
    encoded: dict[Path, str | None] = {}
    samples: list[str | None] = []
    newest = max((images for images, _ in grids), default=-1)
    for moment in moments:
        index = bisect_right([images for images, _ in grids], moment) - 1
        if index < 0 or moment > newest:
            samples.append(None)
            continue
        path = grids[index][1]
        if path not in encoded:
            encoded[path] = _encode_corner(path, flat)
        samples.append(encoded[path])
    return samples


def _encode_corner(path: Path, flat: dict[str, Any]) -> str | None:
    """Return the first 4x4 tiles of a grid as a data URL; None if it is unreadable."""
    size = flat.get("data.size")
    step = (int(size) if is_number(size) else 64) + 2  # tiles are 2 pixels apart
    return as_data_url(path, side=_SIDE, crop=_TILES * step - 2, quality=70)


def _total_length(samples: dict[str, list[str | None]]) -> int:
    return sum(len(sample) for column in samples.values() for sample in column if sample)


def _board_data(board: Leaderboard | None) -> dict[str, Any] | None:
    if board is None:
        return None
    return {
        "metric": board.metric,
        "direction": board.direction,
        "images": board.images,
        "rows": [
            [
                *(row.runs, row.mean, row.spread, row.interval, row.like_first),
                *(row.quality, row.trend),
            ]
            for row in board.rows
        ],
        "doubts": doubts_of(board),
        "effects": [
            [e.key, e.value, e.runs, e.mean, e.best, e.against_mean] for e in board.effects
        ],
        "behind": board.behind,
    }


def _measured(curve: Curve, verdict: Verdict | None, board: Leaderboard | None) -> dict[str, Any]:
    """Return the score where the runs are compared, and the verdict on the newest measurement."""
    if board is None or verdict is None:
        return {"score": None, "quality": "", "trend": "", "evidence": ""}
    value = value_at(curve, board.metric, min(board.images, images_with(curve, board.metric)))
    return {
        "score": value if value is not None and math.isfinite(value) else None,
        "quality": verdict.level,
        "trend": verdict.trend,
        "evidence": verdict.evidence,
    }


def _floor_of(verdicts: Iterable[Verdict], metric: str | None) -> float | None:
    """Return what real images score in a metric; None if the runs do not agree on it."""
    known = {x.floor for x in verdicts if x.metric == metric and x.floor is not None}
    return known.pop() if len(known) == 1 else None


def _real_images(sweep_dir: Path, runs: Sequence[RunState]) -> list[tuple[str, str]]:
    """Return name and samples, as a data URL, of each data set of a sweep; of few sets."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for run in runs:
        name = str(run.flat.get("data.shards", "real images"))
        key = (name, str(run.flat.get("data.size")))
        path = run_dir(sweep_dir, run.run) / SAMPLES / REAL_SAMPLES
        if key not in found and path.is_file() and (url := _encode_corner(path, run.flat)):
            found[key] = (name, url)
    return list(found.values())[:_MAX_DATA_SETS]
