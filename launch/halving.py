"""Successive halving without a server: ASHA (Li et al. 2020), decided from the run directories.

At each rung (a number of images seen) a run writes its own value to its own file, then reads the
values of the others. It continues if it is among the best 1/factor of the runs that have reached
the rung so far. Each run writes before it reads, so of two that arrive at once at least one sees
both. A run that arrives early is compared with few others; the decision is recorded with its
reason.
"""

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gantrain.common.files import write_json
from gantrain.config.quality import full_name
from gantrain.runs.records import read_json
from launch.curves import Curve, images_due, measurements, names_in, value_at
from launch.metric_names import direction_of
from launch.sweepfile import EarlyStop

logger = logging.getLogger(__name__)

RUNGS = "rungs.json"
LATEST = 1.1  # times a rung's images seen: where a value is still taken for the rung's


@dataclass(frozen=True)
class Verdict:
    """Why a run is stopped at a rung.

    value: the run's own. bar: the worst value that continues. rank: 1 is the best of `peers` runs.
    """

    rung: int
    value: float
    bar: float
    rank: int
    peers: int

    def describe(self, metric: str) -> str:
        """Return the reason as one line for display."""
        place = (
            f"{metric} {self.value:.4g} at {self.rung:,} images ranks {self.rank} of {self.peers}"
        )
        return f"{place}; the bar is {self.bar:.4g}" if math.isfinite(self.bar) else place

    def to_json(self) -> dict[str, float | None]:
        """Return the fields for early_stop.json; NaN and infinity become None."""
        fields = dataclasses.asdict(self)
        return {k: v if math.isfinite(v) else None for k, v in fields.items()}


@dataclass(frozen=True)
class RungEntry:
    """A run's value at a rung, and whether the run continued from there."""

    value: float
    passed: bool


def rungs(rule: EarlyStop, total_images: int) -> list[int]:
    """Return the images seen at which runs are compared; the end of the run is not a rung."""
    counts = []
    rung = rule.min_kimg * 1000
    while rung < total_images:
        counts.append(round(rung))
        rung *= rule.factor
    return counts


def compare(value: float, others: Sequence[float], rule: EarlyStop, rung: int) -> Verdict | None:
    """Return a verdict if a run with this value must stop, given the others' values at the rung.

    NaN and infinity rank last, and never continue.
    """
    direction = rule.direction or direction_of(rule.metric) or "min"
    sign = 1 if direction == "min" else -1
    scores = sorted(_finite_or_worst(sign * v) for v in [value, *others])
    own = _finite_or_worst(sign * value)
    rank = sum(score < own for score in scores) + 1
    # With fewer runs than the factor there is nothing to cut yet, except a run without a number.
    kept = max(1, len(scores) // rule.factor) if len(scores) >= rule.factor else len(scores)
    if rank <= kept and math.isfinite(own):
        return None
    return Verdict(rung, value, sign * scores[kept - 1], rank, len(scores))


def decide(run_dir: Path, curve: Curve, rule: EarlyStop, total_images: int) -> Verdict | None:
    """Compare the run at every rung that it has newly reached; return a verdict if it must stop.

    Logs a warning where there is nothing to compare at a rung.
    """
    entries = read_rungs(run_dir)
    for rung in rungs(rule, total_images):
        if rung in entries and entries[rung].passed:
            continue
        if not curve or curve[-1]["images_seen"] < rung:
            break
        others = values_of_others(run_dir, rung)
        value = _value_at_rung(
            curve, rule, rung, measured_by_others=any(map(math.isfinite, others))
        )
        if value is None:
            if curve[-1]["images_seen"] <= rung * LATEST:
                break  # it may come with the next lines
            logger.warning(
                f"launch: halving: no value of {rule.metric} by {rung:,} images; the run continues"
            )
            entries[rung] = RungEntry(math.nan, passed=True)
            _write_rungs(run_dir, entries)
            continue
        entries[rung] = RungEntry(value, passed=False)
        _write_rungs(run_dir, entries)
        verdict = compare(value, values_of_others(run_dir, rung), rule, rung)
        if verdict is not None:
            return verdict
        entries[rung] = RungEntry(value, passed=True)
        _write_rungs(run_dir, entries)
    return None


def _value_at_rung(
    curve: Curve, rule: EarlyStop, rung: int, *, measured_by_others: bool
) -> float | None:
    """Return the run's value at a rung, NaN if it has none where others have, None if it is due."""
    metric = full_name(rule.metric, names_in(curve)) or rule.metric
    value = value_at(curve, metric, rung)
    if value is not None:
        return value
    later = [seen for seen, _ in measurements(curve, metric) if seen <= rung * LATEST]
    if later:
        return value_at(curve, metric, later[0])
    lines = [line for line in curve if line["images_seen"] <= rung * LATEST]
    return math.nan if measured_by_others and images_due(lines, metric) else None


def values_of_others(run_dir: Path, rung: int) -> list[float]:
    """Return the values of the sweep's other runs that were compared at this rung."""
    values = []
    for path in run_dir.parent.glob(f"*/{RUNGS}"):
        if path.parent.name != run_dir.name and rung in (entries := read_rungs(path.parent)):
            entry = entries[rung]
            if not (entry.passed and math.isnan(entry.value)):  # it had nothing to compare
                values.append(entry.value)
    return values


def read_rungs(run_dir: Path) -> dict[int, RungEntry]:
    """Return a run's entries by rung, without invalid ones; empty if it has reached none."""
    entries = {}
    for rung, entry in (read_json(run_dir / RUNGS) or {}).items():
        match entry:
            case [int() | float() | None as value, bool(passed)] if rung.isdecimal():
                entries[int(rung)] = RungEntry(math.nan if value is None else value, passed)
    return entries


def _write_rungs(run_dir: Path, entries: Mapping[int, RungEntry]) -> None:
    content = {
        str(rung): [entry.value if math.isfinite(entry.value) else None, entry.passed]
        for rung, entry in entries.items()
    }
    write_json(run_dir / RUNGS, content)


def _finite_or_worst(value: float) -> float:
    return value if math.isfinite(value) else math.inf
