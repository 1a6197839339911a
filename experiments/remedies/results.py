"""Results of the experiments' runs: curves, diagnoses, adjustments, and a test of two arms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from experiments.correlation import mean_ranks
from experiments.remedies.plan import PlannedRun
from experiments.training import has_ended
from gantrain.config.quality import full_name
from gantrain.health.problems import CODES, NO_FAULT
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.records import read_events

FID = "quality/fid_lite0"
COVERAGE = "quality/coverage_lite0"
CLASSES = "quality/classes_made"
DIVERSITY = "quality/diversity"
_NAMES = {code: name for name, code in CODES.items() if code}


@dataclass(frozen=True)
class Result:
    """A run that has ended.

    lines: the lines of its metrics.jsonl. events: those of its events.jsonl.
    """

    run: PlannedRun
    folder: Path
    lines: list[dict[str, float]]
    events: list[dict[str, Any]] = field(default_factory=list)

    def curve(self, name: str) -> tuple[list[float], list[float]]:
        """Return kimg and value of each measurement of a metric."""
        found = [(x, full_name(name, x)) for x in self.lines]
        points = [(x["images_seen"] / 1000, x[name]) for x, name in found if name is not None]
        return [x for x, _ in points], [y for _, y in points]

    def final(self, name: str) -> float:
        """Return the last measurement of a metric; NaN without any."""
        values = self.curve(name)[1]
        return values[-1] if values else math.nan

    @property
    def alarms(self) -> list[tuple[float, str]]:
        """Kimg and name of each change of the diagnosis, from the first problem on."""
        changes: list[tuple[float, str]] = []
        for line in self.lines:
            name = _NAMES.get(int(line.get("health/diagnosis", 0)), NO_FAULT)
            if name != (changes[-1][1] if changes else NO_FAULT):
                changes.append((line["images_seen"] / 1000, name))
        return changes

    @property
    def adjustments(self) -> list[tuple[float, str, float]]:
        """Kimg, setting and new value of each adjustment and reversion."""
        return [
            (event["images_seen"] / 1000, event["setting"], event["after"])
            for event in self.events
            if event["event"] == "remedy"
        ]


def read_results(runs: Sequence[PlannedRun], out: Path) -> list[Result]:
    """Return the results of the runs that have ended; `out` contains their directories."""
    return [
        Result(run, out / run.name, read_metrics(out / run.name), read_events(out / run.name))
        for run in runs
        if has_ended(out / run.name)
    ]


def select_arm(results: Sequence[Result], group: str, arm: str) -> list[Result]:
    """Return the results of all seeds of an arm."""
    return [x for x in results if (x.run.group, x.run.arm) == (group, arm)]


def rank_test(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the two-sided p-value of the exact Mann-Whitney test (Mann and Whitney 1947).

    It is the share of all ways to divide the values into two sets of these sizes whose rank sum is
    at least as far from its mean. The smallest value with five in each set is 0.008. Ties get mean
    ranks. NaN if a set is empty or a value is not a number.
    """
    values = np.asarray([*one, *other], float)
    if not len(one) or not len(other) or not np.isfinite(values).all():
        return math.nan
    ranks = mean_ranks(values)
    sums = [ranks[list(rows)].sum() for rows in combinations(range(len(values)), len(one))]
    distances = np.abs(np.array(sums) - ranks.mean() * len(one))
    return float((distances >= distances[0] - 1e-9).mean())
