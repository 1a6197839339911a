"""The curves of all runs on the page of a sweep, and the pages of the runs that it links to."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gantrain.common.access import explain
from gantrain.common.errors import UserError
from gantrain.config.quality import describe_goal
from gantrain.runs.paths import EVENTS, METRICS, RUN_PAGE, STATUS
from launch.curves import Curve, measurements
from launch.sweepdir import run_dir

_MOMENTS = 200  # of a curve; more are averaged
# Beside the metric that the sweep is ranked by.
_SHOWN = (
    *("quality/classes_covered", "loss/wasserstein"),
    *("loss/discriminator", "loss/generator"),
)

logger = logging.getLogger(__name__)


def curves_of(
    lines: Mapping[str, Curve], ranked_by: str | None, floor: float | None
) -> dict[str, dict[str, Any]]:
    """Return the curves of some metrics by name, as plain values; assets/overlay.js reads them.

    lines: of metrics.jsonl, by run. ranked_by: the metric to show first. floor: what real images
    score in it.

    Each has `images` (images seen at its points, ascending), `values` by run, with None where a run
    has none, `hint` (which values are better) and `floor`.
    """
    wanted = dict.fromkeys([*([ranked_by] if ranked_by else []), *_SHOWN])
    found: dict[str, dict[str, Any]] = {}
    for metric in wanted:
        points = {run: measurements(curve, metric) for run, curve in lines.items()}
        points = {run: measured for run, measured in points.items() if measured}
        if not points:
            continue
        found[metric] = {
            **_aligned(points),
            "hint": describe_goal(metric),
            "floor": floor if metric == ranked_by else None,
        }
    return found


def write_run_pages(sweep_dir: Path, runs: Sequence[str]) -> None:
    """Write the page of each run that has none, or one older than its files.

    A run that cannot have one, as it has not started, goes without.
    """
    from gantrain.report.run_page import write_run_page  # imports torch

    for run in runs:
        folder = run_dir(sweep_dir, run)
        if _is_outdated(folder):
            try:
                write_run_page(folder)
            except UserError as error:
                logger.warning(f"launch: no page of run {run}: {error}")
            except OSError as error:
                logger.warning(f"launch: no page of run {run}: {explain(error)}")


def link_to_run(sweep_dir: Path, run: str, page: Path) -> str | None:
    """Return the relative address of a run's page on the sweep's page; None if it has none."""
    target = run_dir(sweep_dir, run) / RUN_PAGE
    if not target.is_file():
        return None
    return quote(Path(os.path.relpath(target.resolve(), page.parent.resolve())).as_posix())


def _is_outdated(folder: Path) -> bool:
    sources = [folder / name for name in (METRICS, EVENTS, STATUS) if (folder / name).is_file()]
    page = folder / RUN_PAGE
    if not sources:
        return False
    return not page.is_file() or page.stat().st_mtime < max(x.stat().st_mtime for x in sources)


def _aligned(points: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, Any]:
    """Return the curves over common images seen, which are few enough to draw."""
    images = sorted({seen for measured in points.values() for seen, _ in measured})
    width = 1 if len(images) <= _MOMENTS else images[-1] / _MOMENTS
    if width > 1:
        # The mean of each span stands at its end, as a line of metrics does.
        images = [width * (i + 1) for i in range(_MOMENTS)]
    index = {seen: i for i, seen in enumerate(images)}
    values = {}
    for run, measured in points.items():
        spans: list[list[float]] = [[] for _ in images]
        for seen, value in measured:
            at = min(int(seen / width), _MOMENTS - 1) if width > 1 else index[seen]
            spans[at].append(value)
        values[run] = [float(f"{sum(x) / len(x):.5g}") if x else None for x in spans]
    return {"images": [round(seen) for seen in images], "values": values}
