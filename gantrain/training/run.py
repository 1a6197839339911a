"""One run: where it stands, which positions are this rank's, and what happens between the steps."""

import logging
import math
import time
from dataclasses import asdict
from typing import Any

import torch

from gantrain.common.grids import tile
from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import Config
from gantrain.data.shards.faults import Fault
from gantrain.health.diagnosis import CODES, HealthState, discriminator_leads, observe
from gantrain.health.remedies import RemedyState, choose_adjustment
from gantrain.inference.export import export_generator
from gantrain.metrics.evaluator import Evaluator
from gantrain.runs.checkpoint import Progress, Snapshot
from gantrain.runs.heartbeat import Heartbeat
from gantrain.runs.saver import Saver
from gantrain.runs.signals import StopRequest, stopped_by
from gantrain.runs.tracking import Tracker, append_event
from gantrain.training.gan import Gan
from gantrain.training.meter import Meter
from gantrain.training.nan_guard import RollBack, statistics_are_finite
from gantrain.training.snapshots import take_snapshot

logger = logging.getLogger(__name__)

_FAULTS_SHOWN = 20  # of broken images and shards; events.jsonl has all


class Run:
    """The state of a run that is not in the networks, and the rooms around the loop.

    images_seen: real images that D has seen, over all ranks.
    g_steps: steps of the generator.
    logged_at: images seen at the last line of metrics that was due.
    """

    def __init__(self, config: Config, rank: int, world_size: int) -> None:
        self.config = config
        self.rank = rank
        self.world_size = world_size
        self.parts = config.training.grad_accum_steps
        self.images_seen = 0
        self.g_steps = 0
        self.logged_at = 0
        self.newest_metrics: dict[str, float] = {}
        self.health = HealthState()
        self.remedies = RemedyState()
        self.tracker: Tracker
        self.saver: Saver
        self.heart: Heartbeat
        self.evaluator: Evaluator
        self.stop: StopRequest
        self._faults = 0
        self._marked = 0  # images seen when the rooms were last called
        self._saved_at = -1
        self._logged = (0, time.monotonic())

    def share(self, start: int) -> PositionalRNG:
        """This rank's part of the global batch that starts at position `start`."""
        count = self.config.training.batch_size // self.world_size
        return PositionalRNG(self.config.seed, start + self.rank * count, count)

    @property
    def data_position(self) -> int:
        """Where the next real batch starts in the endless sequence of images."""
        return self.images_seen // self.steps_per_batch

    @property
    def steps_per_batch(self) -> int:
        """D steps that are made on one real batch."""
        objective = self.config.objective
        if objective.kind == "wgan-gp" and objective.reuse_real_batch:
            return objective.n_critic
        return 1

    @property
    def unfinished(self) -> bool:
        """Whether there are images left to see."""
        return self.images_seen < self.config.total_images

    def load_snapshot(self, taken: Snapshot, meter: Meter) -> None:
        """Take a checkpoint's place in the run."""
        progress = taken.state.progress
        self.images_seen = self._marked = self._saved_at = progress.images_seen
        self.g_steps = progress.g_steps
        self.logged_at = progress.logged_at
        self.newest_metrics = progress.newest_metrics
        self.health = progress.health
        self.remedies = progress.remedies if self._treats else RemedyState()
        meter.restore([group.model_dump() for group in progress.meter])

    def data_fault(self, fault: Fault) -> None:
        """Record a broken image or shard that the training goes on without.

        Each rank records what it alone came across, the first one what all of them do.
        """
        details: dict[str, Any] = {
            "where": fault.where,
            "reason": fault.reason,
            "images": fault.images,
        }
        if self.rank == 0:
            self._faults += 1
            if self._faults <= _FAULTS_SHOWN:
                logger.info(f"left out: {fault}")
            self.tracker.event("data_fault", self.images_seen, **details)
        elif fault.met_by == "one rank":
            run_dir = self.config.output.run_dir
            append_event(run_dir, "data_fault", self.images_seen, rank=self.rank, **details)

    def begin(self, gan: Gan) -> None:
        """Start the clock; a new run draws its untrained samples."""
        self._logged = (self.images_seen, time.monotonic())
        if self.images_seen == 0:
            self._sample(gan)

    def after_iteration(self, gan: Gan, meter: Meter) -> None:
        """What is due after the players' steps: metrics, samples, a checkpoint, an end.

        Raises RollBack if too many steps were skipped, StoppedError if the run was asked to stop.
        """
        output = self.config.output
        self.heart.images_seen = self.images_seen
        if self._due(output.log_every_kimg):
            self._log(gan, meter)
            self.logged_at = self.images_seen
        if self._due(output.sample_every_kimg):
            self._sample(gan)
        if self._due(output.checkpoint_every_kimg):
            self._save(gan, meter)
        self._marked = self.images_seen
        self._tell_of_checkpoints()
        with self.heart.phase("end"):
            number = self.stop.agreed()
        if number and self.unfinished:
            self._stop(gan, meter, number)

    def end(self, gan: Gan, meter: Meter) -> None:
        """The last checkpoint, metrics, samples, and the generator for use elsewhere.

        The checkpoint comes first: a longer run that goes on from it must not know that the
        interval of the last metrics was cut short here.
        """
        self._save(gan, meter)
        self._log(gan, meter)
        self._sample(gan)
        self._finish_saving()
        if self.rank == 0:
            export_generator(gan.ema.generator, self.config, self.images_seen)
        self.tracker.event("finished", self.images_seen)
        self.tracker.status("finished", self.images_seen)

    def _due(self, every_kimg: float) -> bool:
        every = every_kimg * 1000
        return self.images_seen // every > self._marked // every

    def _log(self, gan: Gan, meter: Meter) -> None:
        with self.heart.phase("log"):
            metrics = meter.read()
            skipped, streak = gan.guard.read()
        lost = [name for name, value in metrics.items() if not math.isfinite(value)]
        metrics = {name: value for name, value in metrics.items() if name not in lost}
        if skipped:
            metrics["health/skipped_steps"] = skipped
            self.tracker.event("skipped_steps", self.images_seen, count=skipped, in_a_row=streak)
        if self._quality_is_due():
            metrics |= self._measure(gan)
        if metrics:
            metrics |= self._examine(gan, metrics)
            images, then = self._logged
            self._logged = (self.images_seen, time.monotonic())
            speed = (self.images_seen - images) / max(self._logged[1] - then, 1e-9)
            self.newest_metrics |= metrics
            self.tracker.log(self.images_seen, metrics, speed)
        limit = self.config.guard.bad_steps
        if streak >= limit:
            raise RollBack(f"{streak} steps in a row had gradients that are not finite")
        if lost:
            raise RollBack(f"{lost[0]} was not finite in a whole log interval")
        if skipped and not statistics_are_finite(gan.generator, gan.ema.generator):
            raise RollBack("the generator's batch statistics are no longer finite")

    def _quality_is_due(self) -> bool:
        # By the last line of metrics, as a run that resumes gets those after it again.
        every = self.config.metrics.every_kimg * 1000
        return bool(every) and self.images_seen // every > self.logged_at // every

    @property
    def _treats(self) -> bool:
        return self.config.health.remedy == "auto"

    def _examine(self, gan: Gan, metrics: dict[str, float]) -> dict[str, float]:
        """Diagnose, tell of what changed, and turn a knob if it is time; the health's curves."""
        changed = observe(self.health, self.config.objective.kind, self.g_steps, metrics)
        if changed is not None:
            well = changed.name == "healthy"
            advice = changed.advice if self.config.health.remedy != "off" else ""
            text = f"{changed.name}: {changed.evidence}" + (f". Try: {advice}" if advice else "")
            logger.info(f"health: {text}")
            self.tracker.event(
                "diagnosis",
                self.images_seen,
                alert=not well,
                diagnosis=changed.name,
                evidence=changed.evidence,
                advice=advice,
                reason=text,
            )
        curves = {"health/diagnosis": float(CODES[self.health.diagnosis])}
        if not self._treats:
            return curves
        turn = choose_adjustment(
            self.remedies,
            self.health.diagnosis,
            self.g_steps,
            self.config,
            d_leads=discriminator_leads(self.health),
        )
        if turn is not None:
            gan.turn(self.remedies.overrides)
            logger.info(f"remedy: {turn.knob} {turn.before:g} -> {turn.after:g} ({turn.reason})")
            self.tracker.event("remedy", self.images_seen, **turn.model_dump())
        return curves | {f"remedy/{k}": v for k, v in asdict(self.remedies.overrides).items()}

    def _measure(self, gan: Gan) -> dict[str, float]:
        began = time.monotonic()
        with self.heart.phase("metrics"):
            quality = self.evaluator.measure(gan.ema.generator)
        return quality | {"speed/seconds_of_metrics": round(time.monotonic() - began, 2)}

    @torch.no_grad()
    def _sample(self, gan: Gan) -> None:
        if self.rank != 0:
            return
        with self.heart.phase("samples"):
            rows, columns = self.config.output.grid
            rng = PositionalRNG(self.config.seed, 0, rows * columns)
            latents = rng.normal(Stream.GRID_LATENTS, gan.latent_size)
            images = gan.ema.generator(latents.to(gan.accelerator.device))
            self.tracker.grid("fake", self.images_seen, tile(images, rows, columns))

    def _save(self, gan: Gan, meter: Meter) -> None:
        if self._saved_at == self.images_seen:
            return
        with self.heart.phase("checkpoint"):
            progress = Progress.model_validate(
                {
                    "images_seen": self.images_seen,
                    "g_steps": self.g_steps,
                    "logged_at": self.logged_at,
                    "tracker_step": self.tracker.step,
                    "meter": meter.state(),
                    "newest_metrics": self.newest_metrics,
                    "health": self.health.model_dump(),
                    "remedies": self.remedies.model_dump(),
                }
            )
            if self.rank == 0:
                self.saver.save(take_snapshot(gan, self.config, progress, kept=self._is_mark()))
        self._saved_at = self.images_seen

    def _finish_saving(self) -> None:
        with self.heart.phase("checkpoint"):
            self.saver.finish()
        self._tell_of_checkpoints()

    def _tell_of_checkpoints(self) -> None:
        self.saver.check()
        for images_seen in self.saver.take_written():
            self.tracker.event("checkpoint", images_seen)

    def _is_mark(self) -> bool:
        every = self.config.output.keep_every_kimg
        if every is None:
            return False
        return self.images_seen // (every * 1000) > max(self._saved_at, 0) // (every * 1000)

    def _stop(self, gan: Gan, meter: Meter, number: int) -> None:
        state, error = stopped_by(number, self.images_seen)
        self._save(gan, meter)
        self._finish_saving()
        self.tracker.event(state, self.images_seen, reason=str(error))
        self.tracker.status(state, self.images_seen, str(error))
        raise error
