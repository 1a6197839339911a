"""What the tables of baselines say of each run's cost, and their samples."""

from collections.abc import Sequence
from pathlib import Path

from experiments.baselines.plan import Baseline, BaselineRun
from experiments.baselines.train import read_cost
from experiments.tables import format_median_and_range
from gantrain.common.grids import save_png, tile
from gantrain.inference.export import load_generator
from gantrain.inference.sampling import sample_images

_GRID = (4, 10)  # rows and columns of the documents' samples


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
