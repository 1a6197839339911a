"""Training of the missing runs of a baseline, and what each cost."""

import time
from pathlib import Path

import torch

from experiments.baselines.plan import Baseline, BaselineRun
from experiments.training import has_ended, mark_as_ended, train_in
from gantrain.common.files import write_json
from gantrain.common.records import read_object

_COST = "cost.json"


def train_missing(baseline: Baseline, folder: Path) -> list[BaselineRun]:
    """Train the runs that have not ended, one after the other on one core; return all runs.

    folder: contains the data, and gets the run directories.
    """
    torch.set_num_threads(1)
    for run in baseline.runs():
        run_dir = folder / run.name
        if not has_ended(run_dir):
            start = time.process_time()
            try:
                train_in(run_dir, run.config(folder), run.seed)
            finally:
                _add_cost(run_dir, time.process_time() - start)
            mark_as_ended(run_dir)
    return baseline.runs()


def read_cost(run_dir: Path) -> float:
    """Return the CPU seconds that a run took, which other processes hardly change."""
    path = run_dir / _COST
    return float(read_object(path)["cpu_seconds"]) if path.exists() else 0.0


def _add_cost(run_dir: Path, seconds: float) -> None:
    if run_dir.exists():
        write_json(run_dir / _COST, {"cpu_seconds": read_cost(run_dir) + seconds})
