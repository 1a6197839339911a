"""Curves of runs, read at equal images seen."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Curve = Sequence[dict[str, Any]]
WINDOW = 0.1


def read_curve(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last line that is being written is left out."""
    try:
        texts = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    lines = []
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and "images_seen" in line:
            lines.append(line)
    return lines


def value_at(curve: Curve, metric: str, images: float, window: float = WINDOW) -> float | None:
    """The metric's mean over the last `window` of the images before this point.

    Losses of GANs are noisy: one line would rank by chance. A metric that is rarer than the window
    gives its last value. None if there is none yet.
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
    """Images seen at the newest line that has the metric; 0 without one."""
    return max((int(line["images_seen"]) for line in curve if metric in line), default=0)


def speed_of(curve: Curve) -> float | None:
    """Median images a second over the run, None before the first line."""
    speeds = sorted(
        line["speed/images_per_second"] for line in curve if line.get("speed/images_per_second")
    )
    return float(speeds[len(speeds) // 2]) if speeds else None
