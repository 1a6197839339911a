"""What the commands of baselines have in common: options, costs of the runs, tables and samples."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from experiments.baselines.plan import Baseline, BaselineRun
from experiments.baselines.train import read_cost
from experiments.tables import format_median_and_range, update_tables
from gantrain.common.grids import save_png, tile
from gantrain.inference.export import load_generator
from gantrain.inference.sampling import sample_images

_GRID = (4, 10)  # rows and columns of the documents' samples


def baseline_parser(baseline: Baseline, description: str) -> ArgumentParser:
    """Return a parser with the options of each baseline: `out` and `document`."""
    parser = ArgumentParser(
        prog=f"python -m experiments baselines {baseline.name}", description=description
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/baselines", baseline.name), help="folder of the runs"
    )
    parser.add_argument(
        "--document", type=Path, default=Path("docs/baselines.md"), help="document to update"
    )
    return parser


def publish(baseline: Baseline, table: str, options: Namespace) -> None:
    """Write a baseline's table into the document, and its first seeds' samples beside it.

    options: as `baseline_parser` reads them.
    """
    update_tables(options.document, {baseline.name: table})
    for arm in baseline.arms:
        path = options.document.parent / "baselines" / f"{baseline.name}-{arm}.png"
        save_samples(options.out / f"{arm}-{baseline.seeds[0]}", path)


def cost_columns(baseline: Baseline, folder: Path, runs: Sequence[BaselineRun]) -> list[str]:
    """Return seeds, kimg and CPU minutes of one core of these runs, for a table."""
    minutes = [read_cost(folder / run.name) / 60 for run in runs]
    return [str(len(runs)), f"{baseline.kimg:g}", format_median_and_range(minutes, 2)]


def save_samples(run_dir: Path, path: Path) -> None:
    """Write a grid of the first samples of a run's generator, uncurated, as PNG."""
    rows, columns = _GRID
    images = sample_images(load_generator(run_dir), rows * columns, seed=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(tile(images, rows, columns), path)
