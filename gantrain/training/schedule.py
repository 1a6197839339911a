"""What happens between the iterations: metrics, samples, checkpoints, an agreed stop."""

import logging
import math
import time
from typing import Any

import torch

from gantrain.common.grids import tile
from gantrain.common.rng import PositionalRNG, Stream
from gantrain.data.shards.faults import Fault
from gantrain.runs.records import append_event
from gantrain.runs.signals import stopped_by
from gantrain.training.diagnose import diagnose
from gantrain.training.gan import Gan
from gantrain.training.nan_guard import RollBack, statistics_are_finite
from gantrain.training.objectives import Objective
from gantrain.training.services import Services
from gantrain.training.snapshots import take_snapshot
from gantrain.training.state import TrainingState

logger = logging.getLogger(__name__)

_FAULTS_LOGGED = 20  # broken images and shards; events.jsonl has all of them


class Schedule:
    """The scheduled work of a run. All ranks call it together."""

    def __init__(
        self, gan: Gan, objective: Objective, state: TrainingState, services: Services
    ) -> None:
        self._gan = gan
        self._objective = objective
        self._state = state
        self._services = services
        self._faults = 0
        output = state.config.output
        self._work = (
            (output.log_every_kimg, self._log),  # also evaluates and diagnoses
            (output.sample_every_kimg, self._sample),
            (output.checkpoint_every_kimg, self._save),
        )

    def start(self) -> None:
        """Start the clock; a new run saves the samples of the untrained generator."""
        self._state.restart_clock()
        if self._state.images_seen == 0:
            self._sample()

    def after_iteration(self) -> None:
        """Do the work that is scheduled now, and stop if the ranks agree to.

        Raises RollBack if the training must go back, StoppedError if the run was asked to stop.
        """
        state, services = self._state, self._services
        services.heartbeat.images_seen = state.images_seen
        for every_kimg, work in self._work:
            if state.passed(every_kimg, since=state.scheduled_at):
                work()
        state.scheduled_at = state.images_seen
        self._record_checkpoints()
        with services.heartbeat.phase("end"):
            number = services.stop.agreed()
        if number and not state.finished:
            self._stop(number)

    def finish(self) -> None:
        """Save the last checkpoint, log the last metrics and save the last samples.

        The checkpoint comes first: a longer run that resumes from it must not notice that the last
        log interval was cut short.
        """
        self._save()
        self._log_line()
        self._sample()
        self._finish_saving()

    def record_data_fault(self, fault: Fault) -> None:
        """Record a broken image or shard that the training continues without.

        The first rank records what all ranks meet, each other rank what it alone met.
        """
        state = self._state
        details: dict[str, Any] = {
            "where": fault.where,
            "reason": fault.reason,
            "images": fault.images,
        }
        if state.rank == 0:
            self._faults += 1
            if self._faults <= _FAULTS_LOGGED:
                logger.warning(f"left out: {fault}")
            self._services.tracker.event("data_fault", state.images_seen, **details)
        elif fault.seen_by == "one rank":
            run_dir = state.config.output.run_dir
            append_event(run_dir, "data_fault", state.images_seen, rank=state.rank, **details)

    def _log(self) -> None:
        self._log_line()
        self._state.logged_at = self._state.images_seen

    def _log_line(self) -> None:
        state, tracker, gan = self._state, self._services.tracker, self._gan
        with self._services.heartbeat.phase("log"):
            metrics = self._services.meter.read()
            skipped, streak = gan.nan_guard.read()
        not_finite = [name for name, value in metrics.items() if not math.isfinite(value)]
        metrics = {name: value for name, value in metrics.items() if name not in not_finite}
        if skipped:
            metrics["health/skipped_steps"] = skipped
            tracker.event("skipped_steps", state.images_seen, count=skipped, in_a_row=streak)
        # By the last scheduled line: a run that resumes writes the lines after it again.
        if state.passed(state.config.metrics.every_kimg or math.inf, since=state.logged_at):
            metrics |= self._evaluate()
        if metrics:
            curves, problem = diagnose(gan, self._objective, state, tracker, metrics)
            metrics |= curves
            state.newest_metrics |= metrics
            tracker.log(state.images_seen, metrics, state.restart_clock(), problem)
        if streak >= state.config.guard.bad_steps:
            raise RollBack(f"{streak} steps in a row had gradients that are not finite")
        if not_finite:
            raise RollBack(f"{not_finite[0]} was not finite in a whole log interval")
        if skipped and not statistics_are_finite(gan.generator, gan.ema.generator):
            raise RollBack("the generator's batch statistics are no longer finite")

    def _evaluate(self) -> dict[str, float]:
        start = time.monotonic()
        with self._services.heartbeat.phase("metrics"):
            quality = self._services.evaluate(self._gan.ema.generator)
        return quality | {"speed/seconds_of_metrics": round(time.monotonic() - start, 2)}

    @torch.no_grad()
    def _sample(self) -> None:
        state, gan = self._state, self._gan
        if state.rank != 0:
            return
        with self._services.heartbeat.phase("samples"):
            rows, columns = state.config.output.grid
            rng = PositionalRNG(state.config.seed, 0, rows * columns)
            images = gan.ema.generator(gan.latents(rng, Stream.GRID_LATENTS))
            self._services.tracker.grid("fake", state.images_seen, tile(images, rows, columns))

    def _save(self) -> None:
        state, services = self._state, self._services
        if state.saved_at == state.images_seen:
            return
        with services.heartbeat.phase("checkpoint"):
            meter = services.meter.state()  # a collective call
            if state.rank == 0:
                step = services.tracker.step
                services.saver.save(take_snapshot(self._gan, state, meter, step))
        state.saved_at = state.images_seen

    def _finish_saving(self) -> None:
        with self._services.heartbeat.phase("checkpoint"):
            self._services.saver.finish()
        self._record_checkpoints()

    def _record_checkpoints(self) -> None:
        self._services.saver.check()
        for images_seen in self._services.saver.take_written():
            self._services.tracker.event("checkpoint", images_seen)

    def _stop(self, number: int) -> None:
        images_seen, tracker = self._state.images_seen, self._services.tracker
        name, error = stopped_by(number, images_seen)
        self._save()
        self._finish_saving()
        tracker.event(name, images_seen, reason=str(error))
        tracker.status(name, images_seen, str(error))
        raise error
