"""Write the tables and plots of docs/experiments.md: `python -m experiments remedies report`.

A table replaces the text between `<!-- NAME -->` and `<!-- end -->`; the rest of the document is
kept. The plots need matplotlib.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.remedies.plan import all_runs, collapse_arms, strong_arms
from experiments.remedies.plots import draw_plots
from experiments.remedies.results import (
    FID,
    PARTS,
    Result,
    rank_correlation,
    read_results,
    select_arm,
)
from experiments.tables import format_median_and_range, markdown_table, update_tables
from gantrain.health.problems import NO_FAULT, words_for

_G_LOSS, _D_LOSS = "loss/generator", "loss/discriminator"
_KINDS = ("dcgan", "wgan-gp", "dcgan-nearest", "dcgan-kernel-5")


def main(arguments: Sequence[str]) -> None:
    """Read the runs and update the document and its plots."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments remedies report",
        description="Write the tables and plots of docs/experiments.md.",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/experiments"), help="folder of the run directories"
    )
    parser.add_argument(
        "--document",
        type=Path,
        default=Path("docs/experiments.md"),
        help="document to update; the plots go to experiments/ next to it",
    )
    options = parser.parse_args(arguments)
    results = read_results(all_runs(), options.out)
    tables: dict[str, Callable[[Sequence[Result]], str]] = {
        "strong": lambda x: arms_table(x, "strong", tuple(strong_arms())),
        "collapse": lambda x: arms_table(x, "collapse", tuple(collapse_arms())),
        "kinds": lambda x: arms_table(x, "kinds", _KINDS),
        "correlations": correlations_table,
        "diagnoses": diagnoses_table,
        "checkerboards": checkerboards_table,
    }
    update_tables(options.document, {name: table(results) for name, table in tables.items()})
    draw_plots(results, options.document.parent / "experiments")
    print(f"{options.document}: updated from {len(results)} of {len(all_runs())} runs")


def arms_table(results: Sequence[Result], group: str, arms: Sequence[str]) -> str:
    """Format the final quality and the diagnoses of each arm."""
    rows = []
    for arm in arms:
        runs = select_arm(results, group, arm)
        diagnoses = [f"{words_for(x.first_diagnosis)} ({sum(x.alarms.values())})" for x in runs]
        rows.append(
            [
                arm,
                str(len(runs)),
                format_median_and_range([x.final(PARTS) for x in runs]),
                format_median_and_range([x.final(FID) for x in runs]),
                format_median_and_range([x.final("quality/swd") for x in runs]),
                format_median_and_range([x.final("quality/recall_classifier") for x in runs], 2),
                "; ".join(diagnoses),
            ]
        )
    header = ["arm", "seeds", "parts of 10", "FID (brick)", "SWD", "recall", "diagnosis (lines)"]
    return markdown_table(header, rows)


def correlations_table(results: Sequence[Result]) -> str:
    """Format Spearman's correlation of losses with FID over the measurements of each run."""
    pairs = [
        ("dcgan", "G's loss", _G_LOSS),
        ("dcgan", "D's loss", _D_LOSS),
        ("wgan-gp", "critic's loss", _D_LOSS),
        ("wgan-gp", "Wasserstein estimate", "loss/wasserstein"),
        ("wgan-gp", "generator's loss", _G_LOSS),
    ]
    rows = []
    for arm, label, name in pairs:
        values = [correlation_with_fid(x, name) for x in select_arm(results, "kinds", arm)]
        each = ", ".join(f"{value:+.2f}" for value in values)
        median = f"{statistics.median(values):+.2f}" if values else "-"
        rows.append([arm, label, median, each])
    return markdown_table(["kind", "curve", "median", "each seed"], rows)


def correlation_with_fid(result: Result, name: str) -> float:
    """Correlate a loss with FID over the lines in which FID was measured.

    The loss of a line is its mean since the previous line.
    """
    lines = [line for line in result.lines if FID in line and name in line]
    return rank_correlation([line[name] for line in lines], [line[FID] for line in lines])


def diagnoses_table(results: Sequence[Result]) -> str:
    """Format the diagnoses of the runs with known faults and of those without any."""
    rows, right, faulty = [], 0, 0
    alarmed, faultless = 0, 0
    for x in results:
        if x.run.group != "diagnoses":
            continue
        is_right = x.first_diagnosis == x.run.truth
        alarms = ", ".join(f"{name} {count}" for name, count in x.alarms.items()) or "none"
        if x.run.truth == NO_FAULT:
            faultless += 1
            alarmed += not is_right
        else:
            faulty += 1
            right += is_right
        rows.append(
            [x.run.arm, x.run.truth, x.first_diagnosis, alarms, "yes" if is_right else "**no**"]
        )
    header = ["run", "truth", "first alarm", "lines under each alarm", "right"]
    summary = (
        f"Right on {right} of {faulty} faulty runs; alarms on {alarmed} of {faultless} without a "
        "fault."
    )
    return markdown_table(header, rows) + "\n\n" + summary


def checkerboards_table(results: Sequence[Result]) -> str:
    """Format the checkerboard scores over the second half of the training."""
    rows = []
    for arm in ("dcgan", "dcgan-nearest", "dcgan-kernel-5", "wgan-gp"):
        runs = select_arm(results, "kinds", arm)
        late = [
            statistics.median(values[len(values) // 2 :])
            for values in (x.curve("quality/checkerboard")[1] for x in runs)
            if values
        ]
        fid = format_median_and_range([x.final(FID) for x in runs])
        rows.append([arm, str(len(runs)), format_median_and_range(late), fid])
    return markdown_table(["arm", "seeds", "checkerboard score", "FID (brick)"], rows)
