"""Successive halving without a server: ASHA, decided from the run directories.

At each rung (images seen) a run writes its value into a file of its own, then reads those of the
others. It goes on if it is among the best 1/factor of those that have reached the rung so far. Each
run writes before it reads, so of two that arrive together at least one sees both; a run that
arrives early is judged against few, and what it then does is written down with its reason.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gantrain.common.files import write_json
from launch.curves import Curve, value_at
from launch.sweepfile import EarlyStop

RUNGS = "rungs.json"


@dataclass(frozen=True)
class Verdict:
    """Why a run is stopped at a rung."""

    rung: int
    value: float
    bar: float
    rank: int
    peers: int

    def sentence(self, metric: str) -> str:
        """The reason, for people."""
        return (
            f"{metric} {self.value:.4g} at {self.rung:,} images is {self.rank}. of {self.peers}; "
            f"{self.bar:.4g} or better goes on"
        )


@dataclass(frozen=True)
class RungEntry:
    """A run's value at a rung, and whether it went on from there."""

    value: float
    passed: bool


def rungs(rule: EarlyStop, total_images: int) -> list[int]:
    """Images seen at which runs are compared; the end is no rung."""
    places = []
    rung = rule.min_kimg * 1000
    while rung < total_images:
        places.append(round(rung))
        rung *= rule.factor
    return places


def judge(value: float, others: Sequence[float], rule: EarlyStop, rung: int) -> Verdict | None:
    """A verdict if the run must stop, given the others' values at this rung."""
    sign = 1 if rule.direction == "min" else -1
    scores = sorted(_score(sign * v) for v in [value, *others])
    own = _score(sign * value)
    rank = sum(score < own for score in scores) + 1
    # With fewer runs than the factor there is nothing to cut yet, unless a run has no number.
    kept = max(1, len(scores) // rule.factor) if len(scores) >= rule.factor else len(scores)
    if rank <= kept and math.isfinite(own):
        return None
    return Verdict(rung, value, sign * scores[kept - 1], rank, len(scores))


def decide(run_dir: Path, curve: Curve, rule: EarlyStop, total_images: int) -> Verdict | None:
    """Judge the run at every rung that it has newly reached; a verdict stops it."""
    entries = read_rungs(run_dir)
    for rung in rungs(rule, total_images):
        if rung in entries and entries[rung].passed:
            continue
        if not curve or curve[-1]["images_seen"] < rung:
            break
        value = value_at(curve, rule.metric, rung)
        if value is None:
            break
        entries[rung] = RungEntry(value, passed=False)
        _write_rungs(run_dir, entries)
        verdict = judge(value, others_at(run_dir, rung), rule, rung)
        if verdict is not None:
            return verdict
        entries[rung] = RungEntry(value, passed=True)
        _write_rungs(run_dir, entries)
    return None


def others_at(run_dir: Path, rung: int) -> list[float]:
    """The values of the sweep's other runs at this rung, as far as they are there."""
    values = []
    for path in run_dir.parent.glob(f"*/{RUNGS}"):
        if path.parent.name != run_dir.name and rung in (found := read_rungs(path.parent)):
            values.append(found[rung].value)
    return values


def read_rungs(run_dir: Path) -> dict[int, RungEntry]:
    """What a run has written at its rungs."""
    try:
        content = json.loads((run_dir / RUNGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {
        int(rung): RungEntry(math.nan if value is None else float(value), passed)
        for rung, (value, passed) in content.items()
    }


def _write_rungs(run_dir: Path, entries: Mapping[int, RungEntry]) -> None:
    plain = {
        str(rung): [entry.value if math.isfinite(entry.value) else None, entry.passed]
        for rung, entry in entries.items()
    }
    write_json(run_dir / RUNGS, plain)


def _score(value: float) -> float:
    return value if math.isfinite(value) else math.inf
