"""Compare the metrics of runs at equal images seen."""

import math
from collections.abc import Sequence

from gantrain.runs.records import Record

Curve = Sequence[Record]  # lines of metrics.jsonl, oldest first
WINDOW = 0.1


def value_at(curve: Curve, metric: str, images: float, window: float = WINDOW) -> float | None:
    """Return the metric's mean over the last `window` (a fraction) of the first `images` images.

    The mean smooths GAN losses, whose single values would rank runs by chance. A metric logged less
    often than the window has its last value returned. None if it has no value yet.
    """
    values = [
        (line["images_seen"], float(line[metric]))
        for line in curve
        if line["images_seen"] <= images and line.get(metric) is not None
    ]
    if not values:
        return None
    recent = [value for seen, value in values if seen > images * (1 - window)]
    recent = recent or [values[-1][1]]
    return math.fsum(recent) / len(recent)


def images_with(curve: Curve, metric: str) -> int:
    """Return images seen at the newest line that has the metric; 0 if none has."""
    return max((int(line["images_seen"]) for line in curve if metric in line), default=0)


def median_speed(curve: Curve) -> float | None:
    """Return the median training speed in images per second; None before the first line."""
    speeds = sorted(
        line["speed/images_per_second"] for line in curve if line.get("speed/images_per_second")
    )
    return float(speeds[len(speeds) // 2]) if speeds else None
