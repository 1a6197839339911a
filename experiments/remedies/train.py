"""Train the missing runs of the experiments: `python -m experiments remedies train`.

Several processes can share the work, for example two with `--part 0 2` and `--part 1 2`.
`python -m experiments remedies report` makes tables and plots of the runs that have ended.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from experiments.remedies.plan import GROUPS, TUNING_PARTS, PlannedRun, all_runs, base_config
from experiments.training import (
    has_ended,
    merge,
    runs_parser,
    train_to_end,
    without_two_sample_tests,
)
from gantrain.common.locks import file_lock


def main(arguments: Sequence[str]) -> None:
    """Train the missing runs one after the other."""
    torch.set_num_threads(1)
    parser = runs_parser(
        "remedies train", "Train the missing runs of the experiments.", Path("runs/experiments")
    )
    parser.add_argument("--group", choices=[group.name for group in GROUPS], help="train only this")
    parser.add_argument("--arm", help="train only this arm")
    parser.add_argument("--seed", type=int, help="train only this seed")
    options = parser.parse_args(arguments)
    index, count = options.part
    runs = [
        run
        for run in all_runs()
        if options.group in (None, run.group)
        and options.arm in (None, run.arm)
        and options.seed in (None, run.seed)
    ]
    for run in runs[index::count]:
        if not has_ended(options.out / run.name):
            train(run, options.out)


def train(run: PlannedRun, out: Path) -> None:
    """Train one run in this process."""
    tree = merge(base_config(out, render_shards(out, TUNING_PARTS)), run.changes)
    train_to_end(out / run.name, tree, run.seed, without_two_sample_tests())


def render_shards(out: Path, parts: str, *more: str) -> Path:
    """Return the folder with 4,000 images of these upright parts; render them if missing.

    more: options of `gantrain data render`.
    """
    folder = out / f"bricks-{parts[:4]}"
    with file_lock(out / "lock", wait=True):  # one process renders, the others wait
        if not (folder / "manifest.json").exists():
            options = ["--size", "32", "--parts", parts, "--views", "200", "--tip", "0", *more]
            gantrain = [sys.executable, "-m", "gantrain"]
            subprocess.run([*gantrain, "data", "render", str(folder), *options], check=True)
    return folder
