"""Write the tables of docs/critic.md: `python -m experiments critic report`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from experiments.correlation import median_correlation_interval, rank_correlation
from experiments.critic.measure import measured_file
from experiments.critic.plan import KIMG, SEEDS, SETS, LongRun, all_runs
from experiments.critic.train import OUT
from experiments.tables import markdown_table, update_tables
from experiments.values import Values
from gantrain.common.records import read_object

WARM_UP = 0.1  # of each run, whose checkpoints are left out
_COST = "seconds/"
_TRUTHS = ("fid", "kid")

Curve = list[Values]  # of the checkpoints of a run, in the order of the training


def main(arguments: Sequence[str]) -> None:
    """Write what is measured so far into the document."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments critic report", description="Write the tables of docs/critic.md"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the run directories")
    parser.add_argument(
        "--document", type=Path, default=Path("docs/critic.md"), help="document to update"
    )
    options = parser.parse_args(arguments)
    curves = {run: read_curve(options.out / run.name, KIMG[run.kind]) for run in all_runs()}
    curves = {run: curve for run, curve in curves.items() if curve}
    tables = {f"critic {kind}": correlations_table(kind, curves) for kind in SEEDS}
    update_tables(options.document, {**tables, "quality": quality_table(curves)})


def read_curve(run_dir: Path, kimg: float) -> Curve:
    """Return what was measured of a run of that length, after its warm-up."""
    files = sorted(measured_file(run_dir, 0).parent.glob("*.json"))
    values = [{"images_seen": float(int(path.stem)), **read_object(path)} for path in files]
    return [x for x in values if x["images_seen"] > 1000 * WARM_UP * kimg]


def correlations_table(kind: str, curves: dict[LongRun, Curve]) -> str:
    """Format the correlations of each number with FID, of the runs of one objective."""
    some = {run: curve for run, curve in curves.items() if run.kind == kind}
    if not some:
        return "Not measured yet."
    first = next(iter(some.values()))[0]
    names = [n for n in first if not n.startswith(_COST) and n not in (*_TRUTHS, "images_seen")]
    header = [kind]
    for data in SETS:
        header += [f"{data}: with FID", "interval", "its changes with FID's"]
    rows = [[name, *_cells(name, some), _cost(name, some)] for name in names]
    return markdown_table([*header, "CPU seconds"], rows)


def _cells(name: str, curves: dict[LongRun, Curve]) -> list[str]:
    cells: list[str] = []
    for data in SETS:
        pairs = [_pair(name, curve) for run, curve in curves.items() if run.data == data]
        if not pairs:
            cells += ["", "", ""]
            continue
        each = [rank_correlation(x, y) for x, y in pairs]
        changes = [rank_correlation(np.diff(x), np.diff(y)) for x, y in pairs]
        low, high = median_correlation_interval(pairs)
        seeds = ", ".join(f"{value:+.2f}" for value in each)
        cells.append(f"**{np.median(each):+.2f}** ({seeds})")
        cells += [f"{low:+.2f} to {high:+.2f}", f"{np.median(changes):+.2f}"]
    return cells


def _pair(name: str, curve: Curve) -> tuple[list[float], list[float]]:
    return [x[name] for x in curve], [x["fid"] for x in curve]


def _cost(name: str, curves: dict[LongRun, Curve]) -> str:
    seconds = [x[_COST + name] for curve in curves.values() for x in curve if _COST + name in x]
    return f"{fmean(seconds):.2g}" if seconds else "0"


def quality_table(curves: dict[LongRun, Curve]) -> str:
    """Format how FID ran in each run."""
    rows = []
    for run, curve in curves.items():
        fids = [x["fid"] for x in curve]
        best = int(np.argmin(fids))
        at = f"{curve[best]['images_seen'] / 1000:.0f} kimg"
        monotone = rank_correlation([x["images_seen"] for x in curve], fids)
        cells = [f"{fids[0]:.3g}", f"{fids[best]:.3g} at {at}", f"{fids[-1]:.3g}"]
        rows.append(
            [run.kind, run.data, str(run.seed), str(len(curve)), *cells, f"{monotone:+.2f}"]
        )
    header = ["objective", "data", "seed", "checkpoints", "first FID", "best FID", "last FID"]
    return markdown_table([*header, "correlation of FID with images seen"], rows)
