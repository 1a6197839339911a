"""Train the missing runs of the hunt: `python -m experiments hunt`.

Each takes about half a minute on one core. Several processes can share the work, for example two
with `--part 0 2` and `--part 1 2`. `python -m experiments hunt report` makes the confusion table.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from experiments.hunt.data import open_set
from experiments.hunt.draws import Half, all_runs, half_of
from experiments.hunt.faults import quick_measurements
from experiments.hunt.plan import HuntedRun
from experiments.training import Tree, has_ended, merge, runs_parser, train_to_end

OUT = Path("runs/hunt")
SIZE = 32  # of all images, in pixels
_MEASUREMENTS = 10  # of each run
_LOG_STEPS = 25  # generator steps


def main(arguments: Sequence[str]) -> None:
    """Train the missing runs one after the other."""
    torch.set_num_threads(1)
    parser = runs_parser("hunt", "Train the missing runs of the hunt.", OUT)
    parser.add_argument("--only", default="", help="train the runs whose name contains this")
    parser.add_argument(
        "--half",
        choices=get_args(Half),
        help="train the first two draws, the third, the fourth, or the fifth",
    )
    parser.add_argument(
        "--features",
        choices=("classifier", "lite0"),
        default="classifier",
        help="features to measure by; the tables are by those of a classifier",
    )
    parser.add_argument("--list", action="store_true", help="print the names of the runs and exit")
    options = parser.parse_args(arguments)
    runs = [
        run
        for run in all_runs()
        if options.only in run.name and options.half in (None, half_of(run))
    ]
    if options.list:
        for run in runs:
            print(f"{run.name}: {run.truth}")
        return
    index, count = options.part
    options.out.mkdir(parents=True, exist_ok=True)
    for run in runs[index::count]:
        if not has_ended(options.out / run.name):
            train(run, options.out, options.features)


def config_tree(
    run: HuntedRun, shards: Path, channels: int, out: Path, features: str = "classifier"
) -> Tree:
    """Return the config of a run, measured by these features."""
    network = {"width": run.draw.width, "learning_rate": 1e-3}
    kimg = run.total_kimg
    base: Tree = {
        "data": {"shards": str(shards), "size": SIZE, "channels": channels},
        "generator": {**network, "latent_size": 32},
        # BatchNorm in D would hide the mean brightness of a batch.
        "discriminator": {**network, "norm": "none", "bias": True},
        "training": {
            "total_kimg": kimg,
            "batch_size": run.batch,
            "device": "cpu",
            "cpu_threads": 1,
        },
        "ema": {"half_life_kimg": 1},
        "metrics": {"every_kimg": kimg / _MEASUREMENTS, "samples": 400, "features": features},
        "output": {
            "log_every_kimg": _LOG_STEPS * run.images_per_g_step / 1000,
            "sample_every_kimg": kimg / run.draw.grids,
            "checkpoint_every_kimg": 2 * kimg,
        },
    }
    tree = merge(base, {"data": {"cache_dir": str(out / "scratch")}}, run.tree)
    if tree["discriminator"].get("backbone") == "resnet":
        del tree["discriminator"]["bias"]  # it always has them
    return tree


def train(run: HuntedRun, out: Path, features: str = "classifier") -> None:
    """Train one run in this process."""
    tree = config_tree(run, *open_set(run.data, out), out, features)
    fault = run.fault(run.begins * run.total_kimg)
    train_to_end(out / run.name, tree, run.draw.seed, quick_measurements(), fault)
