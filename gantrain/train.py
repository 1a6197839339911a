"""Train a GAN: `accelerate launch gantrain/train.py --config configs/dcgan.yaml [key=value …]`.

The algorithm is in `gantrain/training/loop.py`; here its parts are put together.
"""

import argparse
import itertools
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from gantrain.common.errors import (
    INTERRUPTED_STATUS,
    DivergedError,
    LostRankError,
    StoppedError,
    UserError,
)
from gantrain.common.files import write_text
from gantrain.common.grids import tile
from gantrain.common.logs import configure_logging, redirected_lines
from gantrain.common.rng import PositionalRNG
from gantrain.config import Config, dump_config, load_config
from gantrain.data.loading.datasets import ImageDataset, open_dataset, scaled
from gantrain.metrics.evaluator import Evaluator
from gantrain.models.augment import random_flip_shift
from gantrain.runs.heartbeat import Heartbeat
from gantrain.runs.progress import ProgressLine
from gantrain.runs.run_lock import run_lock
from gantrain.runs.saver import Saver
from gantrain.runs.signals import StopRequest
from gantrain.runs.tracking import Tracker
from gantrain.training.distributed import check_same_data, check_world_size, make_accelerator
from gantrain.training.gan import Gan
from gantrain.training.loop import train
from gantrain.training.meter import Meter
from gantrain.training.nan_guard import RollBack, read_recovery
from gantrain.training.objectives import make_objective
from gantrain.training.resume import find_checkpoint, roll_back
from gantrain.training.run import Run
from gantrain.training.snapshots import restore

logger = logging.getLogger("gantrain.train")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; gives the exit status (see docs/reliability.md)."""
    parser = argparse.ArgumentParser(prog="gantrain/train.py", description="Train a GAN.")
    parser.add_argument("--config", type=Path, required=True, help="a YAML file, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as in seed=1")
    options = parser.parse_args(arguments)
    rank = os.environ.get("RANK", "0")
    configure_logging(int(rank))
    try:
        config = load_config(options.config, options.overrides)
        try:
            run_training(config)
        except OSError as error:
            raise cannot_write(error, config) from None
    except UserError as error:
        where = "gantrain" if rank == "0" else f"gantrain (rank {rank})"
        print(f"{where}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("gantrain: stopped at once; the last checkpoint stands.", file=sys.stderr)
        return INTERRUPTED_STATUS
    return 0


def run_training(config: Config) -> None:
    """One run from its beginning or its newest checkpoint to its end.

    Raises UserError for whatever the user can mend, StoppedError when it was asked to stop.
    """
    accelerator = make_accelerator(config)
    check_world_size(config, accelerator)
    dataset = open_dataset(config.data)
    check_same_data(dataset, accelerator)
    gan, meter = Gan(config, accelerator), Meter(accelerator)
    run = Run(config, accelerator.process_index, accelerator.num_processes)
    with ExitStack() as stack:
        if accelerator.is_main_process:
            stack.enter_context(run_lock(config.output.run_dir))
        taken, notices = find_checkpoint(config)
        if taken is not None:
            notices += restore(taken, gan, config)
            run.load_snapshot(taken, meter)
        gan.scale_learning_rates(read_recovery(config.output.run_dir)[1])
        open_rooms(run, accelerator, stack, taken.state.progress.tracker_step if taken else 0)
        announce(run, accelerator, dataset, notices)
        run.evaluator = Evaluator(config, dataset, accelerator)
        try:
            if run.unfinished:
                run.begin(gan)
                train_and_recover(gan, dataset, run, meter)
                run.end(gan, meter)
        except BaseException as error:
            raise_failure(error, run)
        if run.rank == 0:
            say_where(config)


def train_and_recover(gan: Gan, dataset: ImageDataset, run: Run, meter: Meter) -> None:
    """Train to the end, rolling back to the last checkpoint where the training diverges."""
    objective = make_objective(run.config.objective, gan.overrides)
    while True:
        try:
            train(gan, objective, real_batches(dataset, run, gan), run, meter)
            return
        except RollBack as reason:
            roll_back(str(reason), gan, run, meter)


def real_batches(dataset: ImageDataset, run: Run, gan: Gan) -> Iterator[Tensor]:
    """This rank's real batches, one for each D step, from where the run stands."""
    first = run.share(run.data_position)
    start, stride = first.start, run.config.training.batch_size
    for batch in dataset.batches(first, stride, gan.accelerator.device, gan.layout):
        rng = PositionalRNG(first.seed, start, first.count)
        yield from itertools.repeat(
            random_flip_shift(batch, rng, run.config.augment), run.steps_per_batch
        )
        start += stride


def open_rooms(run: Run, accelerator: Accelerator, stack: ExitStack, step: int) -> None:
    """Start what runs beside the training: signals, heartbeat, progress line, tracker, saver."""
    config, main_rank = run.config, accelerator.is_main_process
    run.stop = StopRequest(accelerator)
    stack.enter_context(run.stop.listening())
    if main_rank:
        write_text(config.output.run_dir / "config.yaml", dump_config(config))
    accelerator.wait_for_everyone()
    run.heart = Heartbeat(
        config.output.run_dir,
        run.rank,
        config.guard.hang_seconds,
        lambda reason: record_hang(run, reason),
    )
    stack.enter_context(run.heart)
    progress = ProgressLine(config.total_images, run.images_seen, shown=main_rank)
    stack.enter_context(progress)
    stack.enter_context(redirected_lines(progress.print))
    run.tracker = Tracker(config, run.logged_at, step, progress, write=main_rank)
    stack.callback(run.tracker.close)
    run.saver = Saver(config.output)


def record_hang(run: Run, reason: str) -> None:
    """Put a hang into the run's records, from the watchdog's thread."""
    print(f"gantrain: {reason} The job ends, so that it can be requeued.", file=sys.stderr)
    run.tracker.event("hung", run.images_seen, reason=reason)
    run.tracker.status("hung", run.images_seen, reason)


def announce(run: Run, accelerator: Accelerator, dataset: ImageDataset, notices: list[str]) -> None:
    """Tell the user what begins, or goes on; put a grid of real images beside the samples."""
    config = run.config
    for notice in notices:
        logger.info(notice)
    verb = "goes on" if run.images_seen else "starts"
    logger.info(
        f"{config.objective.kind} {verb} at {run.images_seen:,} of {config.total_images:,} images: "
        f"{dataset.description}; {accelerator.num_processes} rank(s) on "
        f"{accelerator.device.type}, batch {config.training.batch_size}, "
        f"precision {config.training.mixed_precision}"
    )
    run.tracker.event(verb.replace(" ", "_"), run.images_seen, notices=notices)
    dataset.log.listen(run.data_fault)
    if run.rank == 0:
        rows, columns = config.output.grid
        real = scaled(dataset.images(PositionalRNG(config.seed, 0, rows * columns)))
        run.tracker.real_grid(tile(real, rows, columns))


def raise_failure(error: BaseException, run: Run) -> None:
    """Record why the run ends before its time, and raise what the user should read."""
    if isinstance(error, StoppedError):
        raise error
    if isinstance(error, OSError):
        error = cannot_write(error, run.config)
    elif isinstance(error, RuntimeError) and run.world_size > 1 and is_lost_rank(error):
        error = LostRankError(
            f"Another rank is gone ({str(error).splitlines()[0]}). Start again: the run goes on "
            "from its last checkpoint."
        )
    reason = str(error) or type(error).__name__
    with suppress(OSError):
        state = "failed"
        if isinstance(error, DivergedError | KeyboardInterrupt):
            state = "diverged" if isinstance(error, DivergedError) else "interrupted"
        run.tracker.event(state, run.images_seen, alert=True, reason=reason)
        run.tracker.status(state, run.images_seen, reason)
    run.tracker.close(failed=True)
    raise error


def is_lost_rank(error: RuntimeError) -> bool:
    """Whether a collective failed because its peer is no longer there."""
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo", "NCCL")
    return isinstance(error, torch.distributed.DistError) or any(s in str(error) for s in signs)


def cannot_write(error: OSError, config: Config) -> UserError:
    """A full disk, a missing right and the like, in one sentence."""
    path = error.filename or config.output.run_dir
    return UserError(
        f"{path}: {error.strerror or error}; free some space, mend the rights, or choose another "
        "output.run_dir, and start again."
    )


def say_where(config: Config) -> None:
    """Name what a run has made."""
    samples = config.output.run_dir / "samples"
    print(f"run directory: {config.output.run_dir}")
    print(f"last samples:  {max(samples.glob('fake-*.png'))}  (real: {samples / 'real.png'})")


if __name__ == "__main__":
    sys.exit(main())
