"""What the runs left behind, read back: curves, diagnoses, ends, and statistics of them."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.plan import Planned
from gantrain.health.diagnosis import CODES
from gantrain.runs.tracking import read_metrics

_NAMES = {code: name for name, code in CODES.items() if code}


@dataclass(frozen=True)
class Result:
    """A run that was made. lines: of its metrics.jsonl. turns: of its overrides."""

    run: Planned
    folder: Path
    lines: list[dict[str, float]]
    turns: int

    def curve(self, name: str) -> tuple[list[float], list[float]]:
        """kimg and values where the metric was taken."""
        points = [(x["images_seen"] / 1000, x[name]) for x in self.lines if name in x]
        return [x for x, _ in points], [y for _, y in points]

    def end(self, name: str) -> float:
        """The median of the last two measurements, NaN if there are none."""
        values = self.curve(name)[1][-2:]
        return float(np.median(values)) if values else math.nan

    @property
    def alarms(self) -> dict[str, int]:
        """Log lines under each illness."""
        codes = [int(line.get("health/diagnosis", 0)) for line in self.lines]
        return {_NAMES[code]: codes.count(code) for code in sorted(set(codes)) if code}

    @property
    def verdict(self) -> str:
        """The first illness that was named, which is what a user acts on; healthy without one."""
        codes = [int(line.get("health/diagnosis", 0)) for line in self.lines]
        return next((str(_NAMES[code]) for code in codes if code), "healthy")

    @property
    def first_alarm(self) -> float:
        """kimg of the first line under an alarm; NaN without one."""
        at = [x["images_seen"] / 1000 for x in self.lines if x.get("health/diagnosis")]
        return at[0] if at else math.nan


def read_results(runs: Sequence[Planned], out: Path) -> list[Result]:
    """Of the runs that came to an end."""
    found = []
    for run in runs:
        folder = out / run.name
        if (folder / "ended").exists() and (folder / "events.jsonl").exists():
            events = [json.loads(line) for line in (folder / "events.jsonl").open()]
            turns = sum(event["event"] == "remedy" for event in events)
            found.append(Result(run, folder, read_metrics(folder), turns))
    return found


def of_arm(results: Sequence[Result], group: str, arm: str) -> list[Result]:
    """All seeds of an arm."""
    return [x for x in results if (x.run.group, x.run.arm) == (group, arm)]


def middle_and_range(values: Sequence[float], digits: int = 3) -> str:
    """`median (lowest to highest)`."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "-"
    low, middle, high = min(finite), float(np.median(finite)), max(finite)
    return f"{middle:.{digits}g} ({low:.{digits}g} to {high:.{digits}g})"


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's, with mean ranks for ties; NaN for fewer than 3 points or a constant."""
    if len(x) < 3:
        return math.nan
    a, b = (_ranks(np.asarray(values, float)) for values in (x, y))
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm else math.nan


def _ranks(values: np.ndarray) -> np.ndarray:
    below = (values[:, None] > values[None]).sum(1)
    equal = (values[:, None] == values[None]).sum(1)
    ranks: np.ndarray = below + (equal - 1) / 2
    return ranks
