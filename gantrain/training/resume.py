"""Where a run goes on: its newest whole checkpoint, at the start or after it diverged."""

import logging

from gantrain.common.errors import DivergedError, UserError
from gantrain.config import Config
from gantrain.runs.checkpoint import Snapshot, list_checkpoints, read_newest
from gantrain.training.gan import Gan
from gantrain.training.meter import Meter
from gantrain.training.nan_guard import read_recovery, write_recovery
from gantrain.training.run import Run
from gantrain.training.snapshots import restore

logger = logging.getLogger(__name__)


def find_checkpoint(config: Config) -> tuple[Snapshot | None, list[str]]:
    """The checkpoint to go on from, as output.resume says, and what the user should know.

    Raises UserError if output.resume forbids to go on, or there is nothing whole to go on from.
    """
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


def roll_back(reason: str, gan: Gan, run: Run, meter: Meter) -> None:
    """Go back to the last good checkpoint, with lower learning rates. All ranks do it together.

    Raises DivergedError with a diagnosis if there is none, or guard.rollbacks are used up.
    """
    guard, run_dir = run.config.guard, run.config.output.run_dir
    at = run.images_seen
    run.saver.finish()
    gan.accelerator.wait_for_everyone()
    rollbacks, scale = read_recovery(run_dir)
    taken, _ = read_newest(run_dir)
    if rollbacks >= guard.rollbacks or taken is None:
        raise DivergedError(_diagnosis(reason, at, rollbacks, scale, taken))
    scale *= guard.learning_rate_factor
    gan.accelerator.wait_for_everyone()  # before the file changes that all have just read
    if run.rank == 0:
        write_recovery(run_dir, rollbacks + 1, scale)
    restore(taken, gan, run.config)
    run.load_snapshot(taken, meter)
    gan.guard.reset()
    gan.scale_learning_rates(scale)
    run.tracker.rewind(run.logged_at)
    message = (
        f"{reason} by {at:,} images: rolled back to {run.images_seen:,}, learning rates x{scale:g} "
        f"(roll-back {rollbacks + 1} of {guard.rollbacks})"
    )
    logger.info(message)
    run.tracker.event("rolled_back", at, alert=True, reason=message, to=run.images_seen)
    gan.accelerator.wait_for_everyone()


def _diagnosis(reason: str, at: int, rollbacks: int, scale: float, taken: Snapshot | None) -> str:
    tried = (
        f"{rollbacks} roll-back(s), down to learning rates x{scale:g}, did not help"
        if taken is not None
        else "there is no checkpoint to roll back to"
    )
    return (
        f"The training diverged: {reason} by {at:,} images, and {tried}. Lower the learning rates, "
        "set training.clip_norm, or, under fp16, use training.mixed_precision=bf16."
    )
