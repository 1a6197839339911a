"""Write the tables and plots of docs/experiments.md: `python -m experiments remedies report`.

A table replaces the text between `<!-- NAME -->` and `<!-- end -->`; the rest of the document is
kept. The plots need matplotlib.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from experiments.remedies.plan import GROUPS, Group, all_runs
from experiments.remedies.plots import draw_plots
from experiments.remedies.results import (
    CLASSES,
    COVERAGE,
    DIVERSITY,
    FID,
    Result,
    rank_test,
    read_results,
    select_arm,
)
from experiments.tables import format_median_and_range, markdown_table, update_tables


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
    tables = {group.name: arms_table(results, group) for group in GROUPS}
    tables |= {f"{group.name} adjustments": adjustments_table(results, group) for group in GROUPS}
    update_tables(options.document, tables)
    draw_plots(results, options.document.parent / "experiments")
    print(f"{options.document}: updated from {len(results)} of {len(all_runs())} runs")


def arms_table(results: Sequence[Result], group: Group) -> str:
    """Format the quality of each arm at the end, and how probable its difference from none is."""
    rows = []
    for arm in group.arms:
        runs = select_arm(results, group.name, arm)
        if not runs:
            continue
        row = [arm, str(len(runs))]
        for name in (FID, DIVERSITY, CLASSES, COVERAGE):
            values = [x.final(name) for x in runs]
            row.append(format_median_and_range(values))
            if name in (FID, DIVERSITY):
                plain = [x.final(name) for x in select_arm(results, group.name, "none")]
                p = math.nan if arm == "none" else rank_test(values, plain)
                row.append("-" if math.isnan(p) else f"{p:.2g}")
        rows.append(row)
    header = ["arm", "seeds", "FID (lite0)", "p", "diversity", "p", "classes of 10", "coverage"]
    return markdown_table(header, rows)


def adjustments_table(results: Sequence[Result], group: Group) -> str:
    """Format the diagnoses without a remedy, and what `auto` did, of each seed, with the kimg."""
    rows = []
    for seed in sorted({x.run.seed for x in results if x.run.group == group.name}):
        alone, treated = (
            [x for x in select_arm(results, group.name, arm) if x.run.seed == seed]
            for arm in ("none", "auto")
        )
        alarms = [f"{name} ({kimg:.0f})" for x in alone for kimg, name in x.alarms]
        changes = [
            f"{name} {after:g} ({kimg:.0f})" for x in treated for kimg, name, after in x.adjustments
        ]
        rows.append([str(seed), _listed(alarms, alone), _listed(changes, treated)])
    return markdown_table(["seed", "diagnoses without a remedy", "adjustments of `auto`"], rows)


def _listed(texts: Sequence[str], runs: Sequence[Result]) -> str:
    return ", ".join(texts) or ("none" if runs else "-")
