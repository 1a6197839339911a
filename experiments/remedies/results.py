"""Results of the experiments' runs: curves, diagnoses, final values, and statistics of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.remedies.plan import PlannedRun
from experiments.training import has_ended
from gantrain.config.quality import full_name
from gantrain.health.problems import CODES, NO_FAULT
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.paths import EVENTS

FID = "quality/fid_classifier"
PARTS = "quality/classes_made"
_NAMES = {code: name for name, code in CODES.items() if code}


@dataclass(frozen=True)
class Result:
    """A run that has ended.

    lines: the lines of its metrics.jsonl.
    """

    run: PlannedRun
    folder: Path
    lines: list[dict[str, float]]

    def curve(self, name: str) -> tuple[list[float], list[float]]:
        """Return kimg and value of each measurement of a metric."""
        found = [(x, full_name(name, x)) for x in self.lines]
        points = [(x["images_seen"] / 1000, x[name]) for x, name in found if name is not None]
        return [x for x, _ in points], [y for _, y in points]

    def final(self, name: str) -> float:
        """Return the median of the last two measurements of a metric; NaN without any."""
        values = self.curve(name)[1][-2:]
        return float(np.median(values)) if values else math.nan

    @property
    def alarms(self) -> dict[str, int]:
        """The number of log lines under each problem."""
        codes = [int(line.get("health/diagnosis", 0)) for line in self.lines]
        return {_NAMES[code]: codes.count(code) for code in sorted(set(codes)) if code}

    @property
    def first_diagnosis(self) -> str:
        """The first problem, to which a user would react; else that there is none."""
        codes = [int(line.get("health/diagnosis", 0)) for line in self.lines]
        return next((str(_NAMES[code]) for code in codes if code), NO_FAULT)

    @property
    def first_alarm_kimg(self) -> float:
        """Position of the first log line with a problem; NaN without any."""
        kimg = [x["images_seen"] / 1000 for x in self.lines if x.get("health/diagnosis")]
        return kimg[0] if kimg else math.nan


def read_results(runs: Sequence[PlannedRun], out: Path) -> list[Result]:
    """Return the results of the runs that have ended; `out` contains their directories."""
    return [
        Result(run, out / run.name, read_metrics(out / run.name))
        for run in runs
        if has_ended(out / run.name) and (out / run.name / EVENTS).exists()
    ]


def select_arm(results: Sequence[Result], group: str, arm: str) -> list[Result]:
    """Return the results of all seeds of an arm."""
    return [x for x in results if (x.run.group, x.run.arm) == (group, arm)]


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Return Spearman's correlation, with mean ranks for ties.

    NaN for fewer than 3 points or a constant sequence.
    """
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
