"""Compare the metrics of runs at equal images seen."""

import math
from collections.abc import Sequence

from gantrain.common.statistics import Interval
from gantrain.config.quality import interval_names
from gantrain.runs.records import Record
from launch.metric_names import is_due

Curve = Sequence[Record]  # lines of metrics.jsonl, oldest first
WINDOW = 0.1
_COUNTS = ("health/skipped_steps",)  # lines that lack it have counted none


def measurements(curve: Curve, metric: str) -> list[tuple[float, float]]:
    """Return images seen and value wherever the metric was due; NaN where a line lacks it.

    The trainer leaves out values that are not finite. Empty if no line has the metric.
    """
    if not any(line.get(metric) is not None for line in curve):
        return []
    missing = 0.0 if metric in _COUNTS else math.nan
    due = [line for line in curve if is_due(line, metric)]
    return [(line["images_seen"], _number(line.get(metric), missing)) for line in due]


def value_at(curve: Curve, metric: str, images: float, window: float = WINDOW) -> float | None:
    """Return the metric's mean over the last `window` (a fraction) of the first `images` images.

    The mean smooths GAN losses, whose single values would rank runs by chance. The value of a
    quality metric is its last measurement, since it belongs to the weights that were measured; so
    is that of a metric logged less often than the window. None if it has no value yet, NaN if it
    has none any more.
    """
    values = [(seen, value) for seen, value in measurements(curve, metric) if seen <= images]
    if not values:
        return None
    if not math.isfinite(values[-1][1]):
        return math.nan
    if metric.startswith("quality/"):
        return values[-1][1]
    recent = [v for seen, v in values if seen > images * (1 - window) and math.isfinite(v)]
    recent = recent or [values[-1][1]]
    return math.fsum(recent) / len(recent)


def interval_at(curve: Curve, metric: str, images: float) -> Interval | None:
    """Return the 95% interval of what `value_at` returns; None for means, and in older runs."""
    lines = [x for x in curve if x["images_seen"] <= images and is_due(x, metric)]
    ends = [lines[-1].get(name) for name in interval_names(metric)] if lines else []
    low, high = (_number(end, math.nan) for end in ends) if ends else (math.nan, math.nan)
    return (low, high) if math.isfinite(high - low) else None


def images_with(curve: Curve, metric: str) -> int:
    """Return images seen where the metric was due last; 0 if no line has it."""
    return int(max((seen for seen, _ in measurements(curve, metric)), default=0))


def images_due(curve: Curve, metric: str) -> int:
    """Return images seen where the metric was due last, even if no line has it; 0 if it never was.

    For a metric that the run should have measured.
    """
    return max((int(line["images_seen"]) for line in curve if is_due(line, metric)), default=0)


def names_in(curve: Curve) -> list[str]:
    """Return the metrics that these lines have."""
    names = dict.fromkeys(name for line in curve for name in line)
    names.pop("images_seen", None)
    return list(names)


def _number(value: float | None, missing: float) -> float:
    return missing if value is None else float(value)


def median_speed(curve: Curve) -> float | None:
    """Return the median training speed in images per second; None before the first line."""
    speeds = sorted(
        line["speed/images_per_second"] for line in curve if line.get("speed/images_per_second")
    )
    return float(speeds[len(speeds) // 2]) if speeds else None
