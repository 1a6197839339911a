"""What the diagnosis says of each run of the hunt, and which runs count.

The runs are replayed from their metrics, so that a changed threshold needs no new training.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.hunt.plan import HuntedRun
from gantrain.common.statistics import wilson_interval
from gantrain.health.known import Known
from gantrain.health.problems import NO_FAULT
from gantrain.health.replay import lines_of, replay
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.records import read_events

_FIDS = ("quality/fid_classifier", "quality/fid_lite0")  # of which a run has one
IN_TIME = 0.25  # of a run after its fault began
WANTED = 0.85  # of the sick runs
ALLOWED = 0.05  # of the others
# Which runs count, as it was fixed before the third draw was trained. A setting without a fault
# counts if its last FID is at most these times its first and its best one; a fault that is not
# certain (see HuntedRun) if the last FID is at least so many times the median of the runs without
# one on the same images, and one that comes late also if it is so many times the best before it.
_LEARNT = 0.75
_KEPT = 1.5
_ILL = 1.5


@dataclass(frozen=True)
class Verdict:
    """What the diagnosis says of a run.

    first: the first problem that it names once the fault has begun, "" if none. delay: the part of
        the whole run between the two. early: a problem that it names before the fault. warned:
        whether the settings or the images were doubtful before the first step. fids: measured.
    """

    run: HuntedRun
    first: str
    delay: float
    early: str = ""
    warned: bool = False
    fids: tuple[float, ...] = ()

    @property
    def is_right(self) -> bool:
        """Whether the first problem is right, or its neighbour; none if there is no fault."""
        if self.run.truth == NO_FAULT:
            return not self.first
        return bool(self.first) and not self.early and self.run.is_right(self.first)


def counted(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the runs whose FIDs show that they have, or have not, the fault of their settings."""
    usual: dict[str, list[float]] = {}
    for verdict in verdicts:
        if verdict.run.truth == NO_FAULT and _trained_well(verdict.fids):
            usual.setdefault(verdict.run.data, []).append(verdict.fids[-1])
    return [each for each in verdicts if _counts(each, usual.get(each.run.data, []))]


def _trained_well(fids: Sequence[float]) -> bool:
    return len(fids) > 1 and fids[-1] <= min(_LEARNT * fids[0], _KEPT * min(fids))


def _counts(verdict: Verdict, usual: Sequence[float]) -> bool:
    run, fids = verdict.run, verdict.fids
    if run.truth == NO_FAULT:
        return _trained_well(fids)
    if run.certain:
        return True
    if not fids or not usual:  # an absurd FID is not logged
        return not fids
    before = fids[: round(run.begins * len(fids))]
    late = not before or fids[-1] >= _ILL * min(before)
    return late and fids[-1] >= _ILL * statistics.median(usual)


def judge(run: HuntedRun, out: Path) -> Verdict:
    """Replay a run that has ended."""
    metrics = read_metrics(out / run.name)
    fids = tuple(
        float(line[name]) for line in metrics for name in _FIDS if line.get(name) is not None
    )
    total, begins = run.total_kimg * 1000, run.begins * run.total_kimg * 1000
    lines = lines_of(metrics, run.images_per_g_step)
    known = Known(
        label_flips=run.tree.get("objective", {}).get("label_flips", 0.0),
        spectral_norm=run.tree.get("discriminator", {}).get("spectral_norm", False),
        images=run.tree.get("data", {}).get("limit"),
    )
    first, delay, early = "", math.nan, ""
    for change in replay(run.kind, lines, known=known).changes:
        name, seen = change.diagnosis.name, change.images_seen or 0
        if name == NO_FAULT:
            continue
        if seen <= begins and run.begins:
            early = early or name
        else:
            first, delay = name, (seen - begins) / total
            break
    return Verdict(run, first, delay, early, _was_warned(out / run.name), fids)


def share(count: int, total: int, what: str) -> str:
    """Format how many of them, with the interval of the share."""
    low, high = wilson_interval(count / total, total) if total else (0.0, 1.0)
    return f"{count} of {total} {what} (95% interval {low:.0%} to {high:.0%})"


def _was_warned(run_dir: Path) -> bool:
    """Return whether the run said before its first step what is doubtful about it."""
    starts = [event for event in read_events(run_dir) if event.get("event") == "starts"]
    notices = [str(notice) for event in starts for notice in event.get("notices", [])]
    return any(": auto is " not in notice for notice in notices)
