"""Trainings of an experiment, one after the other in one process; those that ended are kept."""

import sys
import traceback
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState, GradientState

from gantrain.common.errors import StoppedError, UserError
from gantrain.config import parse_config
from gantrain.metrics import support
from gantrain.train import run_training
from gantrain.training.gan import Networks

Tree = dict[str, dict[str, Any]]  # sections of a config

ENDED = "ended"  # name of the file that marks a run as ended


def runs_parser(name: str, description: str, out: Path) -> ArgumentParser:
    """Return a parser with the options of what trains many runs: `out` and `part`.

    name: of the experiment. `all_runs[index::count]`, where (index, count) is `part`, are the runs
    to train.
    """
    parser = ArgumentParser(prog=f"python -m experiments {name}", description=description)
    parser.add_argument("--out", type=Path, default=out, help="folder of the run directories")
    parser.add_argument(
        "--part",
        type=int,
        nargs=2,
        default=(0, 1),
        metavar=("I", "N"),
        help="train every Nth run, from run I (0 to N - 1) on",
    )
    return parser


def merge(*trees: Tree) -> Tree:
    """Merge config trees key by key; later trees win."""
    result: Tree = {}
    for tree in trees:
        for section, values in tree.items():
            result[section] = {**result.get(section, {}), **values}
    return result


def has_ended(run_dir: Path) -> bool:
    """Return whether a run has ended, successfully or not."""
    return (run_dir / ENDED).exists()


def mark_as_ended(run_dir: Path) -> None:
    """Record that a run has ended; it is not trained again."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / ENDED).touch()


def train_to_end(
    run_dir: Path, tree: Tree, seed: int, *conditions: AbstractContextManager[None]
) -> None:
    """Train in this process, in the given contexts, and mark the run as ended even if it fails.

    Some runs are made to fail; their errors are printed. Raises StoppedError if the run was asked
    to stop: it is trained on later.
    """
    try:
        with ExitStack() as stack:
            for condition in conditions:
                stack.enter_context(condition)
            train_in(run_dir, tree, seed)
    except StoppedError:
        raise
    except (UserError, RuntimeError):
        traceback.print_exc()
    mark_as_ended(run_dir)


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Within it, an attribute has another value."""
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


def without_two_sample_tests() -> AbstractContextManager[None]:
    """Leave out the metrics that take more than half of the time of a measurement."""
    return replaced(support, "MIN_TWO_SAMPLES", sys.maxsize)


def train_in(
    run_dir: Path,
    tree: Tree,
    seed: int,
    networks: Networks | None = None,
) -> None:
    """Train in this process, from the beginning or the newest checkpoint in `run_dir`.

    networks: trained in place of those that the config describes.

    Raises what `run_training` raises.
    """
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    whole = merge(tree, {"output": {"run_dir": str(run_dir)}})
    run_training(parse_config({**whole, "seed": seed}, run_dir.name), networks)
