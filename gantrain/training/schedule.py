"""What happens between the iterations: metrics, samples, checkpoints, an agreed stop."""

import logging
import math
import time
from dataclasses import asdict
from typing import Any

import torch

from gantrain.common.errors import UserError
from gantrain.common.grids import tile
from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config.schedules import curves_at
from gantrain.data.loading.datasets import ImageDataset
from gantrain.data.shards.faults import Fault
from gantrain.health.trend import stops_early
from gantrain.runs.records import event_record
from gantrain.runs.signals import stopped_by
from gantrain.training.batch import local_rng
from gantrain.training.best import BestSoFar
from gantrain.training.diagnose import diagnose
from gantrain.training.gan import Gan
from gantrain.training.held_out import score_held_out
from gantrain.training.judge import Judge
from gantrain.training.nan_guard import RollBack, statistics_are_finite
from gantrain.training.objectives import Objective
from gantrain.training.services import Services
from gantrain.training.snapshots import take_snapshot
from gantrain.training.state import TrainingState
from gantrain.training.thread_choice import Choice, ThreadChoice

logger = logging.getLogger(__name__)


class EndEarly(Exception):  # noqa: N818 - a request, not an error
    """The run has been asked by its config to end before its last image."""


_FAULTS_LOGGED = 20  # broken images and shards; events.jsonl has all of them


class Schedule:
    """The scheduled work of a run. All ranks call it together.

    best: the best measurement so far. threads: tries other numbers when the speed halves.
    held_out: images that a critic is judged by besides those that it is trained on.
    """

    def __init__(
        self,
        gan: Gan,
        objective: Objective,
        state: TrainingState,
        services: Services,
        best: BestSoFar,
        judge: Judge,
        threads: ThreadChoice,
        held_out: ImageDataset | None,
    ) -> None:
        self._gan = gan
        self._objective = objective
        self._state = state
        self._services = services
        self.best = best
        self._judge = judge
        self._threads = threads
        self._held_out = held_out
        self._faults = 0
        # The line of metrics in the making, and a reason to roll back.
        self._metrics: dict[str, float] = {}
        self._roll_back_reason = ""
        output = state.config.output
        self._line = (
            self._read_meter,
            self._score_held_out,
            self._evaluate_if_due,
            self._diagnose,  # and adjust, with health.remedy=auto
            self._log,
        )
        self._schedule = (
            *((output.log_every_kimg, work) for work in self._line),
            (output.log_every_kimg, self._mark_logged),
            (output.log_every_kimg, self._keep_best),
            (output.sample_every_kimg, self._sample),
            (output.checkpoint_every_kimg, self._save),
            (output.log_every_kimg, self._end_if_worse),
        )

    def start(self) -> None:
        """Start the clock, at the beginning, after a resume or after a roll-back.

        A new run saves the samples of the untrained generator. A collective call.
        """
        self.best.restore(self._state.images_seen)
        self._judge.restore(self._state.images_seen, self._state.health)
        self._services.tracker.status("running", self._state.images_seen)
        self._state.restart_clock()
        self._state.speed = 0.0
        if self._state.images_seen == 0:
            self._sample()
        self._threads.record()
        self._threads.begin()

    def after_iteration(self) -> None:
        """Do the work that is scheduled now, and stop if the ranks agree to.

        Raises RollBack if the training must go back, EndEarly if it need not continue, and
        StoppedError if the run was asked to stop.
        """
        state, services = self._state, self._services
        services.heartbeat.images_seen = state.images_seen
        self._try_threads_if_in_doubt()
        for every_kimg, work in self._schedule:
            if state.passed(every_kimg, since=state.scheduled_at):
                work()
        state.scheduled_at = state.images_seen
        self._record_checkpoints()
        if not state.finished:
            self._stop_if_asked()
        self._threads.begin()

    def record_threads(self, choice: Choice | None) -> None:
        """Tell the user and the records which number of threads a trial has chosen."""
        threads, tracker = self._state.cpu_threads, self._services.tracker
        tracker.cpu_threads = threads.number if threads is not None else None
        if choice is not None:
            logger.info(choice.line)
            tracker.event("cpu_threads", self._state.images_seen, **asdict(choice))

    def _try_threads_if_in_doubt(self) -> None:
        """Change the number of threads before a checkpoint is saved that the run resumes from."""
        if self._threads.in_doubt(self._state.batch_size * self._objective.n_critic):
            with self._services.heartbeat.phase("threads"):
                choice = self._threads.again()
            self.record_threads(choice)

    def _end_if_worse(self) -> None:
        state = self._state
        reason = stops_early(state.health, state.config.guard.stop_after_worse_kimg)
        if reason and not state.finished:
            state.scheduled_at = state.images_seen
            raise EndEarly(reason)

    def finish(self) -> None:
        """Save the last checkpoint, measure the quality, log the last metrics and save samples.

        The checkpoint is of the time before: a longer run that resumes from it must not notice that
        this one ended here, within a log interval and with a measurement. A run that is killed or
        stopped meanwhile does all of this again.

        Raises RollBack, before anything is saved, if the training cannot end like this, and
        StoppedError if the run was asked to stop.
        """
        metrics, state = self._state.config.metrics, self._state
        meter = self._services.meter.state()
        self._read_meter()
        self._score_held_out()
        if self._roll_back_reason:
            raise RollBack(self._roll_back_reason)
        self._save(meter)
        self._stop_if_asked()
        if metrics.every_kimg and state.measured_at != state.images_seen:
            self._evaluate()
        for work in (self._diagnose, self._log, self._keep_best):
            work()
        self._stop_if_asked()
        self._sample()
        self._finish_saving()
        self._stop_if_asked()

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
            failures = self._services.failures
            with failures.contain("events.jsonl"):
                details["rank"] = state.rank
                failures.events.append(event_record("data_fault", state.images_seen, **details))

    def _read_meter(self) -> None:
        """Start a line with the means of the steps since the last one."""
        state, gan = self._state, self._gan
        with self._services.heartbeat.phase("log"):
            means = self._services.meter.read()
            if means:
                means |= gan.weight_changes() | gan.ada.curves()
                means |= curves_at(state.config, state.images_seen, state.config.total_images)
            skipped, streak = gan.nan_guard.read()
        self._metrics = {name: value for name, value in means.items() if math.isfinite(value)}
        # Gradients may overflow a few times, above all while fp16 looks for its loss scale.
        not_finite = [
            name for name in means if name not in self._metrics and not name.endswith("_grad_norm")
        ]
        if skipped:
            self._metrics["health/skipped_steps"] = skipped
            self._services.tracker.event(
                "skipped_steps", state.images_seen, count=skipped, in_a_row=streak
            )
        self._roll_back_reason = ""
        if streak >= state.config.guard.bad_steps:
            self._roll_back_reason = f"{streak} steps in a row had gradients that are not finite"
        elif not_finite:
            self._roll_back_reason = f"{not_finite[0]} was not finite in a whole log interval"
        elif skipped and not statistics_are_finite(gan.generator, gan.ema.generator):
            self._roll_back_reason = "the generator's batch statistics are no longer finite"

    def _score_held_out(self) -> None:
        """Add the critic's score of a batch of held-out images to the line, if there is a line."""
        if self._metrics and self._held_out is not None:
            state = self._state
            rng = local_rng(state.config, state.images_seen, state.rank, state.world_size)
            self._metrics |= score_held_out(self._gan, self._held_out, rng)

    def _evaluate_if_due(self) -> None:
        """Evaluate in the first line after each multiple of metrics.every_kimg."""
        state = self._state
        # Counted from the last scheduled line: a run that resumes writes the lines after it again.
        if state.passed(state.config.metrics.every_kimg or math.inf, since=state.logged_at):
            self._evaluate()

    def _evaluate(self) -> None:
        """Add the quality metrics of the EMA generator to the line."""
        start = time.monotonic()
        failures, heartbeat = self._services.failures, self._services.heartbeat
        with heartbeat.phase("metrics"), failures.contain("metrics", UserError):
            self._metrics |= self._services.evaluate(self._gan.ema.generator)
            self._state.measured_at = self._state.images_seen
        self._metrics["speed/seconds_of_metrics"] = round(time.monotonic() - start, 2)

    def _diagnose(self) -> None:
        """Add the diagnosis; with health.remedy=auto, adjust the training."""
        if self._metrics:
            self._metrics |= diagnose(
                self._gan, self._objective, self._state, self._services.tracker, self._metrics
            )

    def _log(self) -> None:
        """Write the line. Raises RollBack if the training cannot continue from here."""
        state = self._state
        if self._metrics:
            speed = state.restart_clock()
            standing = self._judge.standing(state.images_seen, self._metrics, state.health)
            self._services.tracker.log(state.images_seen, self._metrics, speed, standing)
        if self._roll_back_reason:
            raise RollBack(self._roll_back_reason)

    def _mark_logged(self) -> None:
        self._state.logged_at = self._state.images_seen

    def _keep_best(self) -> None:
        """If the line has the best value so far, keep a checkpoint of the weights that it is of."""
        state, services = self._state, self._services
        best = self.best.improved_by(self._metrics, state.images_seen)
        if best is None:
            return
        services.tracker.event("best", best.images_seen, metric=best.metric, value=best.value)
        if state.saved_at != state.images_seen:
            self._save()
        elif state.rank == 0:  # at the end of the run, which is saved before it is measured
            services.saver.keep(best)

    @torch.no_grad()
    def _sample(self) -> None:
        state, gan = self._state, self._gan
        if state.rank != 0:
            return
        failures, heartbeat = self._services.failures, self._services.heartbeat
        with heartbeat.phase("samples"), failures.contain("samples"):
            rows, columns = state.config.output.grid
            rng = PositionalRNG(state.config.seed, 0, rows * columns)
            latents = gan.latents(rng, Stream.GRID_LATENTS)
            conditioning = gan.generator.conditioning
            images = gan.ema.generator(latents, conditioning.by_row(rows, columns))
            grid, caption = tile(images, rows, columns), conditioning.caption(rows)
            self._services.tracker.grid("fake", state.images_seen, grid, caption)

    def _save(self, meter: list[dict[str, Any]] | None = None) -> None:
        """Save a checkpoint, unless that is done already. meter: its state if it has been read."""
        state, services = self._state, self._services
        if state.saved_at == state.images_seen:
            return
        with services.heartbeat.phase("checkpoint"):
            meter = services.meter.state() if meter is None else meter  # a collective call
            ada = self._gan.ada.state()  # likewise
            if state.rank == 0:
                step = services.tracker.step
                snapshot = take_snapshot(self._gan, state, meter, ada, step)
                services.saver.save(snapshot, self.best.best)
        state.saved_at = state.images_seen

    def _finish_saving(self) -> None:
        with self._services.heartbeat.phase("checkpoint"):
            self._services.saver.finish()
        self._record_checkpoints()

    def _record_checkpoints(self) -> None:
        self._services.saver.check()
        for images_seen in self._services.saver.take_written():
            self._services.tracker.event("checkpoint", images_seen)

    def _stop_if_asked(self) -> None:
        with self._services.heartbeat.phase("end"):
            number = self._services.stop.agreed()
        if number:
            self._stop(number)

    def _stop(self, number: int) -> None:
        images_seen, tracker = self._state.images_seen, self._services.tracker
        name, error = stopped_by(number, images_seen)
        self._save()
        self._finish_saving()
        tracker.event(name, images_seen, reason=str(error))
        tracker.status(name, images_seen, str(error))
        raise error
