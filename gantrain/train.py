"""Train a GAN: `accelerate launch gantrain/train.py --config configs/dcgan.yaml [key=value …]`.

The algorithm is in `gantrain/loop.py`; here its parts are put together.
"""

import argparse
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor

from gantrain.checkpoint import Snapshot, list_checkpoints, read_newest, restore
from gantrain.config import Config, dump_config, load_config
from gantrain.data.batches import Pictures, load_pictures
from gantrain.draws import Positions
from gantrain.errors import UserError
from gantrain.files import write_text
from gantrain.gan import Gan
from gantrain.grids import tile
from gantrain.launched import check_world_size, quiet_launcher
from gantrain.loop import train
from gantrain.meter import Meter
from gantrain.objectives import make_objective
from gantrain.progress import ProgressLine
from gantrain.run import Run
from gantrain.tracking import Tracker


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; gives the exit status: 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="gantrain/train.py", description="Train a GAN.")
    parser.add_argument("--config", type=Path, required=True, help="a YAML file, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as in seed=1")
    options = parser.parse_args(arguments)
    rank = os.environ.get("RANK", "0")
    try:
        run_training(load_config(options.config, options.overrides))
    except UserError as error:
        where = "gantrain" if rank == "0" else f"gantrain (rank {rank})"
        print(f"{where}: {error}", file=sys.stderr)
        return 2
    return 0


def run_training(config: Config) -> None:
    """One run from its beginning or its newest checkpoint to its end.

    Raises UserError for whatever the user can mend.
    """
    accelerator = make_accelerator(config)
    check_world_size(config, accelerator)
    gan = Gan(config, accelerator)
    meter = Meter(accelerator)
    run = Run(config, accelerator.process_index, accelerator.num_processes)
    taken, notices = find_checkpoint(config)
    if taken is not None:
        notices += restore(taken, gan, config)
        run.go_on_from(taken, meter)
    pictures = load_pictures(config.data)
    main_rank = accelerator.is_main_process
    if main_rank:
        write_text(config.output.run_dir / "config.yaml", dump_config(config))
    with ProgressLine(config.total_images, run.images_seen, shown=main_rank) as progress:
        tracker = Tracker(config, run.logged_at, progress, write=main_rank)
        announce(run, accelerator, pictures, tracker, notices)
        try:
            if run.images_seen < config.total_images:
                run.begin(gan, tracker)
                real = real_batches(pictures, run, gan)
                train(gan, make_objective(config.objective), real, run, meter)
                run.end(gan, meter)
        except BaseException as error:
            reason = str(error) or type(error).__name__
            tracker.event("failed", run.images_seen, reason=reason)
            tracker.status("failed", run.images_seen, reason)
            tracker.close(failed=True)
            raise
        tracker.close()
    if main_rank:
        samples = config.output.run_dir / "samples"
        print(f"run directory: {config.output.run_dir}")
        print(f"last samples:  {max(samples.glob('fake-*.png'))}  (real: {samples / 'real.png'})")


def make_accelerator(config: Config) -> Accelerator:
    """Accelerate's view of this process: its rank, device and precision."""
    quiet_launcher()
    cpu = config.training.device == "cpu" or not torch.cuda.is_available()
    if config.training.device == "cuda" and cpu:
        raise UserError("training.device: 'cuda' asked for, but torch sees no GPU; use auto.")
    if config.training.mixed_precision == "fp16" and cpu:
        raise UserError("training.mixed_precision: 'fp16' needs a GPU; on a CPU use bf16 or no.")
    if config.training.sync_batch_norm and cpu:
        raise UserError("training.sync_batch_norm: true needs GPUs; set it to false on a CPU.")
    # Statistics differ a little between the ranks; to broadcast them would change them in place
    # between the forward passes of one backward pass.
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    return Accelerator(
        cpu=cpu, mixed_precision=config.training.mixed_precision, kwargs_handlers=[ddp]
    )


def find_checkpoint(config: Config) -> tuple[Snapshot | None, list[str]]:
    """The checkpoint to go on from, as output.resume says, and what the user should know."""
    run_dir, resume = config.output.run_dir, config.output.resume
    if resume == "never":
        if list_checkpoints(run_dir):
            raise UserError(
                f"{run_dir} holds checkpoints of a run, and output.resume is never; "
                "choose another output.run_dir, or set output.resume=auto to go on with it."
            )
        return None, []
    taken, notices = read_newest(run_dir)
    if taken is None and (notices or resume == "must"):
        raise UserError("\n  ".join([f"{run_dir}: no whole checkpoint to go on from.", *notices]))
    return taken, notices


def announce(
    run: Run, accelerator: Accelerator, pictures: Pictures, tracker: Tracker, notices: list[str]
) -> None:
    """Tell the user what begins, or goes on; put a grid of real pictures beside the samples."""
    config = run.config
    for notice in notices:
        tracker.say(notice)
    verb = "goes on" if run.images_seen else "starts"
    tracker.say(
        f"{config.objective.kind} {verb} at {run.images_seen:,} of {config.total_images:,} images: "
        f"{len(pictures.images):,} pictures, {accelerator.num_processes} rank(s) on "
        f"{accelerator.device.type}, batch {config.training.batch_size}, "
        f"precision {config.training.mixed_precision}"
    )
    tracker.event(verb.replace(" ", "_"), run.images_seen, changes=notices)
    if run.rank == 0:
        rows, columns = config.output.grid
        at = Positions(config.seed, 0, rows * columns)
        real = pictures.at(at, torch.device("cpu"))
        tracker.real_grid(tile(real, rows, columns))


def real_batches(pictures: Pictures, run: Run, gan: Gan) -> Iterator[Tensor]:
    """This rank's real batches, one for each D step, from where the run stands."""
    first = run.share(run.data_position)
    stride = run.config.training.batch_size
    for batch in pictures.batches(first, stride, gan.accelerator.device, gan.layout):
        yield from itertools.repeat(batch, run.steps_per_batch)


if __name__ == "__main__":
    sys.exit(main())
