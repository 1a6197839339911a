"""What runs next to the training: heartbeat, meter, tracker, checkpoint saver, stop request."""

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from gantrain.common.files import write_text
from gantrain.common.logs import redirected_lines
from gantrain.config import dump_config
from gantrain.models.networks import Generator
from gantrain.runs.failures import Failures
from gantrain.runs.heartbeat import Heartbeat
from gantrain.runs.paths import CONFIG
from gantrain.runs.progress import ProgressLine
from gantrain.runs.provenance import AttemptRecord, Setting
from gantrain.runs.saver import Saver
from gantrain.runs.signals import StopRequest
from gantrain.runs.tracking import Tracker
from gantrain.training.meter import Meter
from gantrain.training.state import TrainingState
from gantrain.training.step_graphs import StepRunner, step_runner

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """The services of one rank.

    failures: contains what fails beside the training.
    steps: runs D and G steps.
    evaluate: measures the EMA generator and returns `quality/…` metrics, equal on all ranks; a
    collective call. Raises UserError on all ranks if that fails on any.
    """

    failures: Failures
    heartbeat: Heartbeat
    meter: Meter
    tracker: Tracker
    saver: Saver
    stop: StopRequest
    steps: StepRunner
    evaluate: Callable[[Generator], dict[str, float]]


def start_services(
    state: TrainingState,
    meter: Meter,
    tracker_step: int,
    evaluate: Callable[[Generator], dict[str, float]],
    accelerator: Accelerator,
    stack: ExitStack,
    *,
    complete: bool = False,
) -> Services:
    """Start the services of this rank; `stack` ends them.

    tracker_step: the last step that W&B was sent before the run resumed, else 0.
    complete: the run has ended before; its last metrics are not logged again.
    """
    config, main_rank = state.config, state.rank == 0
    run_dir = config.output.run_dir
    stop = StopRequest(accelerator)
    stack.enter_context(stop.listening())
    if main_rank:
        write_text(run_dir / CONFIG, dump_config(config))
    accelerator.wait_for_everyone()
    progress = ProgressLine(config.total_images, state.images_seen, shown=main_rank)
    failures = Failures(run_dir, state.rank, lambda: state.images_seen)
    attempt = None
    if main_rank and not complete:
        attempt = AttemptRecord(run_dir, state.images_seen, _describe(accelerator), failures)
    tracker = Tracker(
        config, state.logged_at, tracker_step, progress, failures, attempt, write=main_rank
    )
    if not complete:
        tracker.rewind(state.logged_at, state.measured_at)

    def record_hang(reason: str) -> None:
        logger.warning(f"{reason} The job ends, so that it can be requeued.")
        tracker.event("hung", state.images_seen, reason=reason)
        tracker.status("hung", state.images_seen, reason)

    heartbeat = Heartbeat(run_dir, state.rank, config.guard.hang_seconds, record_hang, failures)
    stack.enter_context(heartbeat)
    stack.enter_context(progress)
    if main_rank:
        stack.enter_context(redirected_lines(progress.print))
    stack.callback(tracker.close)
    tracker.connect()
    saver, steps = Saver(config.output), step_runner(config, accelerator)
    return Services(failures, heartbeat, meter, tracker, saver, stop, steps, evaluate)


def _describe(accelerator: Accelerator) -> Setting:
    """Return how the ranks train, for run.json."""
    device = accelerator.device
    versions, gpus = {}, []
    if device.type == "cuda":
        versions = {"cuda": str(torch.version.cuda)}
        gpus = [torch.cuda.get_device_name(device)]
    return Setting(
        ranks=accelerator.num_processes,
        ranks_here=int(os.environ.get("LOCAL_WORLD_SIZE") or accelerator.num_processes),
        device=device.type,
        precision=accelerator.mixed_precision,
        threads=torch.get_num_threads(),
        gpus=gpus,
        versions=versions,
    )
