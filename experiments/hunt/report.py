"""Compare the diagnoses of the hunt's runs with the truth: `python -m experiments hunt report`.

The runs are replayed from their metrics, so that a changed threshold needs no new training.
"""

import argparse
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from experiments.hunt.draws import Half, all_runs, half_of
from experiments.hunt.plan import HuntedRun
from experiments.hunt.train import OUT
from experiments.tables import markdown_table, update_tables
from experiments.training import has_ended
from gantrain.common.statistics import wilson_interval
from gantrain.health.known import Known
from gantrain.health.problems import NO_FAULT
from gantrain.health.replay import lines_of, replay
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.records import read_events

_FID = "quality/fid_classifier"
_IN_TIME = 0.25  # of a run after its fault began
_WANTED = 0.85  # of the sick runs
_ALLOWED = 0.05  # of the others
# Which runs count, as it was fixed before the third draw was trained. A setting without a fault
# counts if its last FID is at most these times its first and its best one; a fault that is not
# certain (see HuntedRun) if the last FID is at least so many times the median of the runs without
# one on the same images, and one that comes late also if it is so many times the best before it.
_LEARNT = 0.75
_KEPT = 1.5
_ILL = 1.5
_MARKS = {"well": "hunt-well"}  # where it stands in the document


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


def main(arguments: Sequence[str]) -> None:
    """Print the confusion table, or write it to the document."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments hunt report",
        description="Compare the diagnoses of the hunt's runs with the truth.",
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the run directories")
    parser.add_argument(
        "--half",
        choices=get_args(Half),
        default="report",
        help="the first two draws, by which rules were chosen, the third, or the fourth, of runs "
        "without a fault",
    )
    parser.add_argument(
        "--document",
        type=Path,
        help="document with the marks <!-- hunt -->, or <!-- hunt-well --> for the fourth draw",
    )
    options = parser.parse_args(arguments)
    wanted = [run for run in all_runs() if half_of(run) == options.half]
    verdicts = [judge(run, options.out) for run in wanted if has_ended(options.out / run.name)]
    text = "\n\n".join(report(verdicts))
    if len(verdicts) < len(wanted):
        text += f" The other {len(wanted) - len(verdicts)} runs of this half are not trained yet."
    if options.document is None:
        print(text)
        return
    update_tables(options.document, {_MARKS.get(options.half, "hunt"): text})
    print(f"{options.document}: updated from {len(verdicts)} of {len(wanted)} runs")


def judge(run: HuntedRun, out: Path) -> Verdict:
    """Replay a run that has ended."""
    metrics = read_metrics(out / run.name)
    fids = tuple(float(line[_FID]) for line in metrics if line.get(_FID) is not None)
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


def report(verdicts: Sequence[Verdict]) -> list[str]:
    """Return the tables and sentences of the report."""
    valid = counted(verdicts)
    others = [verdict for verdict in verdicts if verdict not in valid]
    tables = [confusion_table(valid), missed_table(valid), left_out_table(others)]
    return [*tables, summary(valid), health(valid)]


def confusion_table(verdicts: Sequence[Verdict]) -> str:
    """Format the number of runs by right and by first diagnosis, with the median delay."""
    rows = []
    for truth in dict.fromkeys(verdict.run.truth for verdict in verdicts):
        group = [verdict for verdict in verdicts if verdict.run.truth == truth]
        named = Counter(verdict.first or "nothing" for verdict in group)
        delays = [verdict.delay for verdict in group if verdict.first]
        rows.append(
            [
                truth,
                str(len(group)),
                ", ".join(f"{name} {count}" for name, count in named.most_common()),
                str(sum(verdict.is_right for verdict in group)),
                f"{statistics.median(delays):.0%}" if delays else "-",
            ]
        )
    header = ["truth", "runs", "first alarm", "right or its neighbour", "delay (part of the run)"]
    return markdown_table(header, rows)


def missed_table(verdicts: Sequence[Verdict]) -> str:
    """Format the runs that got a wrong diagnosis or none, and the false alarms."""
    rows = [
        [verdict.run.name, verdict.run.truth, verdict.early or verdict.first or "nothing"]
        for verdict in verdicts
        if not verdict.is_right
    ]
    return markdown_table(["missed", "truth", "first alarm"], rows or [["none", "", ""]])


def left_out_table(verdicts: Sequence[Verdict]) -> str:
    """Format the runs that count in neither share, with what was said of them."""
    rows = [
        [
            verdict.run.name,
            "did not train well" if verdict.run.truth == NO_FAULT else "did not fall ill",
            verdict.early or verdict.first or "nothing",
        ]
        for verdict in verdicts
    ]
    return markdown_table(["not counted", "why", "first alarm"], rows or [["none", "", ""]])


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return the shares that the diagnosis is judged by, beside their bars."""
    ill = [verdict for verdict in verdicts if verdict.run.truth != NO_FAULT]
    well = [verdict for verdict in verdicts if verdict.run.truth == NO_FAULT]
    right = sum(verdict.is_right for verdict in ill)
    in_time = sum(verdict.is_right and verdict.delay <= _IN_TIME for verdict in ill)
    alarmed = sum(not verdict.is_right for verdict in well)
    warned = sum(verdict.warned for verdict in ill)
    of_ill = (
        f"{_share(right, len(ill), 'sick runs')} have the right name or its neighbour's, "
        f"{_share(in_time, len(ill), 'of them')} within a quarter of the run after the fault began "
        f"(wanted of both: at least {_WANTED:.0%}); "
    )
    others_warned = sum(verdict.warned for verdict in well)
    of_warnings = f"{warned} of the sick runs and {others_warned} of the others"
    return (
        f"{of_ill if ill else ''}"
        f"{_share(alarmed, len(well), 'runs without a fault')} raise an alarm (wanted: at most "
        f"{_ALLOWED:.0%}). Before the first step, "
        f"{of_warnings if ill else f'{others_warned} of them'} are warned of their settings or "
        "images."
    )


def health(verdicts: Sequence[Verdict]) -> str:
    """Return what their FIDs say of the runs without a fault, whatever the diagnosis says."""
    fids = [v.fids for v in verdicts if v.run.truth == NO_FAULT and len(v.fids) > 1]
    if not fids:
        return "No run without a fault has been measured."
    gained = [each[-1] / each[0] for each in fids]
    lost = [each[-1] / min(each) for each in fids]
    first, best = (f"{statistics.median(x):.2f} (at most {max(x):.2f})" for x in (gained, lost))
    return (
        f"In the runs without a fault, the last FID is {first} times the first in the median, and "
        f"{best} times the best."
    )


def _share(count: int, total: int, what: str) -> str:
    low, high = wilson_interval(count / total, total) if total else (0.0, 1.0)
    return f"{count} of {total} {what} (95% interval {low:.0%} to {high:.0%})"


def _was_warned(run_dir: Path) -> bool:
    """Return whether the run said before its first step what is doubtful about it."""
    starts = [event for event in read_events(run_dir) if event.get("event") == "starts"]
    notices = [str(notice) for event in starts for notice in event.get("notices", [])]
    return any(": auto is " not in notice for notice in notices)
