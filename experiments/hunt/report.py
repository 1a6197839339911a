"""Compare the diagnoses of the hunt's runs with the truth: `python -m experiments hunt report`.

The runs are replayed from their metrics, so that a changed threshold needs no new training.
"""

import argparse
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from experiments.hunt.draws import Half, all_runs, half_of
from experiments.hunt.images import looks_of
from experiments.hunt.judged import alarm_table, shares
from experiments.hunt.train import OUT, SIZE
from experiments.hunt.verdicts import ALLOWED, IN_TIME, WANTED, Verdict, counted, judge, share
from experiments.tables import markdown_table, update_tables
from experiments.training import has_ended
from gantrain.health.problems import NO_FAULT

_MARKS = {"well": "hunt-well", "judged": "hunt-judged"}  # where it stands in the document


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
        help="the first two draws, by which rules were chosen, the third, or the fourth and fifth "
        "(judged), of runs without a fault",
    )
    parser.add_argument(
        "--document",
        type=Path,
        help="document with the marks <!-- hunt -->, <!-- hunt-well --> for the fourth draw, or "
        "<!-- hunt-judged --> for the fifth",
    )
    options = parser.parse_args(arguments)
    wanted = [run for run in all_runs() if half_of(run) == options.half]
    verdicts = [judge(run, options.out) for run in wanted if has_ended(options.out / run.name)]
    text = "\n\n".join(report(verdicts, options.out, judged=options.half == "judged"))
    if len(verdicts) < len(wanted):
        text += f" The other {len(wanted) - len(verdicts)} runs of this half are not trained yet."
    if options.document is None:
        print(text)
        return
    update_tables(options.document, {_MARKS.get(options.half, "hunt"): text})
    print(f"{options.document}: updated from {len(verdicts)} of {len(wanted)} runs")


def report(verdicts: Sequence[Verdict], out: Path, *, judged: bool) -> list[str]:
    """Return the tables and sentences of the report; judged: by the images of the runs as well."""
    valid = counted(verdicts)
    others = [verdict for verdict in verdicts if verdict not in valid]
    if judged:
        looks = {verdict.run.name: looks_of(out / verdict.run.name, SIZE) for verdict in valid}
        alarms, of_images = alarm_table(valid, looks), shares(valid, looks)
        return [alarms, left_out_table(others), of_images, health(valid)]
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
    in_time = sum(verdict.is_right and verdict.delay <= IN_TIME for verdict in ill)
    alarmed = sum(not verdict.is_right for verdict in well)
    warned = sum(verdict.warned for verdict in ill)
    of_ill = (
        f"{share(right, len(ill), 'sick runs')} have the right name or its neighbour's, "
        f"{share(in_time, len(ill), 'of them')} within a quarter of the run after the fault began "
        f"(wanted of both: at least {WANTED:.0%}); "
    )
    others_warned = sum(verdict.warned for verdict in well)
    of_warnings = f"{warned} of the sick runs and {others_warned} of the others"
    return (
        f"{of_ill if ill else ''}"
        f"{share(alarmed, len(well), 'runs without a fault')} raise an alarm (wanted: at most "
        f"{ALLOWED:.0%}). Before the first step, "
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
