"""Write the tables of docs/recipes.md: `python -m experiments recipes report`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments.recipes.measure import read_measured
from experiments.recipes.plan import BEST, TRIALS, Trial
from experiments.recipes.train import OUT, cpu_file
from experiments.tables import markdown_table, update_tables
from gantrain.common.records import read_object

_COLUMNS = ("nearest_ratio", "named", "right", "rarest")
_HEADER = ("CPU seconds", "kimg", "nearest ratio", "named", "right class", "rarest class")


def main(arguments: Sequence[str]) -> None:
    """Write what is measured so far into the document."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments recipes report",
        description="Write the tables of docs/recipes.md.",
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the run directories")
    parser.add_argument(
        "--document", type=Path, default=Path("docs/recipes.md"), help="document to update"
    )
    options = parser.parse_args(arguments)
    tables = {
        "trials": trials_table(options.out),
        "curve": curve_table(options.out, BEST),
    }
    update_tables(options.document, tables)


def trials_table(out: Path) -> str:
    """Format the last measurement of each trial that has ended."""
    rows = [
        [f"`{trial.name}`", trial.what, *curve[-1]]
        for trial in TRIALS
        if (curve := _curve(out, trial))
    ]
    return markdown_table(["trial", "what", *_HEADER], rows)


def curve_table(out: Path, trial: Trial) -> str:
    """Format all measurements of a trial; its CPU seconds are in proportion to the images seen."""
    return markdown_table(_HEADER, _curve(out, trial))


def _curve(out: Path, trial: Trial) -> list[list[str]]:
    if not cpu_file(out, trial).exists():
        return []
    total = float(read_object(cpu_file(out, trial))["cpu_seconds"])
    rows = []
    for seen, values in read_measured(out / trial.name).items():
        kimg = seen / 1000
        shown = [f"{values[name]:.2f}" if name in values else "-" for name in _COLUMNS]
        rows.append([f"{total * kimg / trial.kimg:.0f}", f"{kimg:.0f}", *shown])
    return rows
