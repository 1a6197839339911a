"""Where a run resumes: its newest intact checkpoint, at the start or after it diverged."""

import logging

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from gantrain.common.errors import DivergedError, UserError
from gantrain.config import Config
from gantrain.health.trend import stops_early
from gantrain.runs.checkpoint import Snapshot, read_newest
from gantrain.runs.paths import list_checkpoints
from gantrain.runs.records import read_status
from gantrain.training.gan import Gan
from gantrain.training.nan_guard import read_recovery, write_recovery
from gantrain.training.objectives import Objective
from gantrain.training.services import Services
from gantrain.training.snapshots import load_snapshot
from gantrain.training.state import TrainingState

logger = logging.getLogger(__name__)


def find_checkpoint(config: Config) -> tuple[Snapshot | None, list[str]]:
    """Return the checkpoint to resume from, if any, and notices for the user.

    Raises UserError if output.resume forbids to resume, or requires it and there is no intact
    checkpoint, or if a finished run would be overwritten.
    """
    run_dir, resume = config.output.run_dir, config.output.resume
    if resume == "never":
        if list_checkpoints(run_dir):
            raise UserError(
                f"{run_dir} contains checkpoints of a run, and output.resume is never; choose "
                "another output.run_dir, or set output.resume=auto to resume it."
            )
        return None, []
    snapshot, notices = read_newest(run_dir)
    if snapshot is None and (notices or resume == "must"):
        raise UserError("\n  ".join([f"{run_dir}: no intact checkpoint to resume from.", *notices]))
    if snapshot is None and read_status(run_dir).get("state") == "finished":
        raise UserError(
            f"{run_dir} is a finished run without checkpoints; a new one would overwrite its "
            "metrics, samples and generator. Choose another output.run_dir, or move the finished "
            "run away."
        )
    return snapshot, notices


def is_complete(state: TrainingState, accelerator: Accelerator) -> bool:
    """Return whether the run has ended, with its last metrics, samples and exported generator.

    A run that was killed after its last checkpoint has not. One that guard.stop_after_worse_kimg
    ended has, unless it may train on now. A collective call.
    """
    complete = [False]
    early = stops_early(state.health, state.config.guard.stop_after_worse_kimg)
    if accelerator.is_main_process and (state.finished or early):
        status = read_status(state.config.output.run_dir)
        seen = status.get("images_seen")
        complete = [status.get("state") == "finished" and seen == state.images_seen]
    broadcast_object_list(complete)
    return complete[0]


def roll_back(
    reason: str, gan: Gan, objective: Objective, state: TrainingState, services: Services
) -> None:
    """Return to the last good checkpoint with lower learning rates. A collective call.

    Raises DivergedError with a diagnosis if there is none, or guard.rollbacks are used up.
    """
    guard, run_dir = state.config.guard, state.config.output.run_dir
    images_seen = state.images_seen
    services.saver.finish()
    gan.accelerator.wait_for_everyone()
    rollbacks, scale = read_recovery(run_dir)
    snapshot, _ = read_newest(run_dir)
    if rollbacks >= guard.rollbacks or snapshot is None:
        raise DivergedError(_diagnosis(reason, images_seen, rollbacks, scale, snapshot))
    scale *= guard.learning_rate_factor
    gan.accelerator.wait_for_everyone()  # until all ranks have read the file that changes now
    if state.rank == 0:
        write_recovery(run_dir, rollbacks + 1, scale)
    load_snapshot(snapshot, gan, objective, state, services.meter)
    services.steps.forget()
    gan.nan_guard.reset()
    gan.scale_learning_rates(scale)
    services.tracker.rewind(state.logged_at, state.measured_at)
    message = (
        f"{reason} by {images_seen:,} images: rolled back to {state.images_seen:,}, learning rates "
        f"x{scale:g} (roll-back {rollbacks + 1} of {guard.rollbacks})"
    )
    logger.info(message)
    services.tracker.event(
        "rolled_back", images_seen, alert=True, reason=message, to=state.images_seen
    )
    gan.accelerator.wait_for_everyone()


def _diagnosis(
    reason: str, images_seen: int, rollbacks: int, scale: float, snapshot: Snapshot | None
) -> str:
    attempts = (
        f"{rollbacks} roll-back(s), down to learning rates x{scale:g}, did not help"
        if snapshot is not None
        else "there is no checkpoint to roll back to"
    )
    return (
        f"The training diverged: {reason} by {images_seen:,} images, and {attempts}. Lower the "
        "learning rates, set training.clip_norm, or, under fp16, use "
        "training.mixed_precision=bf16."
    )
