"""Train the missing long runs: `python -m experiments critic train`.

Several processes can share the work, for example two with `--part 0 2` and `--part 1 2`. All take
about an hour and a half of one core.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from experiments.critic.plan import all_runs
from experiments.hunt.data import open_set
from experiments.training import has_ended, mark_as_ended, runs_parser, train_in

OUT = Path("runs/critic")


def main(arguments: Sequence[str]) -> None:
    """Train the missing runs one after the other."""
    torch.set_num_threads(1)
    options = runs_parser("critic train", "Train the missing long runs.", OUT).parse_args(arguments)
    index, count = options.part
    for run in all_runs()[index::count]:
        run_dir = options.out / run.name
        if not has_ended(run_dir):
            shards, _ = open_set(run.data, options.out)
            train_in(run_dir, run.config(options.out, shards), run.seed)
            mark_as_ended(run_dir)
