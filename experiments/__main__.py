"""Make the experiments' runs: `python -m experiments --out runs/experiments`; those done stay.

Several processes share the work: `--part 0 2` and `--part 1 2`. `python -m experiments.report`
makes the tables and plots of what is there.
"""

import argparse
import fcntl
import subprocess
import sys
import traceback
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, GradientState

from experiments.plan import OTHER_PARTS, SHOWN_PARTS, Planned, all_runs, common, merged
from gantrain.common.errors import StoppedError, UserError
from gantrain.config import parse_config
from gantrain.train import run_training


def main() -> None:
    """Make the runs that are missing, one after the other."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(prog="python -m experiments")
    parser.add_argument("--out", type=Path, default=Path("runs/experiments"))
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), metavar=("I", "N"))
    parser.add_argument("--group", help="strong, collapse, kinds or diagnoses alone")
    options = parser.parse_args()
    part, parts = options.part
    runs = [run for run in all_runs() if options.group in (None, run.group)]
    for parts_of_set in (SHOWN_PARTS, OTHER_PARTS):
        images(options.out, parts_of_set)
    for run in runs[part::parts]:
        if not finished(options.out / run.name):
            make(run, options.out)


def finished(run_dir: Path) -> bool:
    """Whether a run came to its end, a good one or a bad one."""
    return (run_dir / "ended").exists()


def make(run: Planned, out: Path) -> None:
    """Train one run in this process."""
    parts = OTHER_PARTS if run.group == "diagnoses" else SHOWN_PARTS
    run_dir = out / run.name
    own = {"output": {"run_dir": str(run_dir)}}
    tree = {**merged(common(out, images(out, parts)), run.changes, own), "seed": run.seed}
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    try:
        run_training(parse_config(tree, run.name))
    except StoppedError:
        raise
    except (UserError, RuntimeError):  # a run that is meant to go wrong may end so
        traceback.print_exc()
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "ended").touch()


def images(out: Path, parts: str) -> Path:
    """The set of these parts, rendered if it is not there: 4,000 images of upright bricks."""
    folder = out / f"bricks-{parts[:4]}"
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other processes wait for the one that renders
        if not (folder / "manifest.json").exists():
            options = ["--size", "32", "--parts", parts, "--views", "200", "--tip", "0"]
            gantrain = [sys.executable, "-m", "gantrain.cli.main"]
            subprocess.run([*gantrain, "data", "render", str(folder), *options], check=True)
    return folder


if __name__ == "__main__":
    main()
