"""Train the trials: `python -m experiments recipes`, with names to train some only."""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from experiments.recipes.measure import measure_checkpoints
from experiments.recipes.plan import PARTS, TRIALS, Trial
from experiments.training import train_in
from experiments.values import Values, remember
from gantrain.common.errors import UserError

OUT = Path("runs/recipes")


def main(arguments: Sequence[str]) -> None:
    """Train what is not yet trained, in one thread, and measure its checkpoints."""
    torch.set_num_threads(1)
    names = [trial.name for trial in TRIALS]
    parser = argparse.ArgumentParser(
        prog="python -m experiments recipes", description="Train and measure the missing trials."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the run directories")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in names:
            raise UserError(f"{name}: no such trial; expected one of {', '.join(names)}.")
    for trial in TRIALS:
        if not options.names or trial.name in options.names:
            remember(cpu_file(options.out, trial), partial(_train, trial, options.out))
            measure_checkpoints(options.out / trial.name)


def cpu_file(out: Path, trial: Trial) -> Path:
    """Return the file of the CPU seconds that a trial took, which is written when it has ended."""
    return out / trial.name / "cpu.json"


def render(out: Path, size: int) -> Path:
    """Return the folder of the quickstart's parts at a size, which are rendered if missing."""
    folder = out / f"bricks-{size}"
    if not (folder / "manifest.json").exists():
        command = [sys.executable, "-m", "gantrain", "data", "render", str(folder)]
        options = ["--parts", PARTS, "--tip", "0", "--size", str(size)]
        subprocess.run([*command, *options], check=True)
    return folder


def _train(trial: Trial, out: Path) -> Values:
    tree = trial.config(render(out, trial.size))
    start = time.process_time()
    train_in(out / trial.name, tree, trial.seed)
    return {"cpu_seconds": time.process_time() - start}
