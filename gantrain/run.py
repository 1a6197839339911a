"""One run: where it stands, which positions are this rank's, and what happens between the steps."""

import math
import time
from typing import Any

import torch

from gantrain.checkpoint import Snapshot, snapshot, write_checkpoint
from gantrain.config import Config
from gantrain.draws import Positions, Purpose, draw_normal
from gantrain.errors import UserError
from gantrain.export import export_generator
from gantrain.gan import Gan
from gantrain.grids import tile
from gantrain.meter import Meter
from gantrain.tracking import Tracker


class Run:
    """The state of a run that is not in the networks, and its rooms: tracker, samples, checkpoints.

    images_seen: real images that D has seen, over all ranks.
    g_steps: steps of the generator.
    """

    def __init__(self, config: Config, rank: int, world_size: int) -> None:
        self.config = config
        self.rank = rank
        self.world_size = world_size
        self.parts = config.training.accumulate
        self.images_seen = 0
        self.g_steps = 0
        self.tracker: Tracker
        self._marked = 0  # images seen when the rooms were last called
        self.logged_at = 0  # images seen at the last line of metrics that was due
        self._logged = (0, time.monotonic())

    def share(self, start: int) -> Positions:
        """This rank's part of the global batch that starts at position `start`."""
        count = self.config.training.batch_size // self.world_size
        return Positions(self.config.seed, start + self.rank * count, count)

    @property
    def data_position(self) -> int:
        """Where the next real batch starts in the endless sequence of pictures."""
        return self.images_seen // self.steps_per_batch

    @property
    def steps_per_batch(self) -> int:
        """D steps that are made on one real batch."""
        objective = self.config.objective
        if objective.kind == "wgan-gp" and objective.reuse_real_batch:
            return objective.n_critic
        return 1

    def go_on_from(self, taken: Snapshot, meter: Meter) -> None:
        """Take a checkpoint's place in the run."""
        self.images_seen = self._marked = taken.images_seen
        self.g_steps = taken.state["progress"]["g_steps"]
        self.logged_at = taken.state["progress"]["logged_at"]
        meter.restore(taken.state["progress"]["meter"])

    def begin(self, gan: Gan, tracker: Tracker) -> None:
        """Attach the tracker and start the clock; a new run draws its untrained samples."""
        self.tracker = tracker
        self._logged = (self.images_seen, time.monotonic())
        if self.images_seen == 0:
            self._sample(gan)

    def after_iteration(self, gan: Gan, meter: Meter) -> None:
        """What is due after the players' steps: metrics, samples, a checkpoint."""
        output = self.config.output
        if self._due(output.log_every_kimg):
            self._log(meter)
            self.logged_at = self.images_seen
        if self._due(output.sample_every_kimg):
            self._sample(gan)
        if self._due(output.checkpoint_every_kimg):
            self._checkpoint(gan, meter)
        self._marked = self.images_seen

    def end(self, gan: Gan, meter: Meter) -> None:
        """The last metrics, samples, checkpoint, and the generator for use elsewhere.

        The checkpoint comes first: a longer run that goes on from it must not know that the
        interval of the last metrics was cut short here.
        """
        self._checkpoint(gan, meter)
        self._log(meter)
        self._sample(gan)
        if self.rank == 0:
            export_generator(gan.ema.generator, self.config, self.images_seen)
        self.tracker.event("finished", self.images_seen)
        self.tracker.status("finished", self.images_seen)

    def _due(self, every_kimg: float) -> bool:
        every = every_kimg * 1000
        return self.images_seen // every > self._marked // every

    def _log(self, meter: Meter) -> None:
        metrics = meter.read()
        if not metrics:
            return
        bad = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
        if bad:
            raise UserError(
                f"{bad[0]} by {self.images_seen:,} images, so the training stops. Checkpoints "
                "from before are whole. Lower the learning rates, set training.clip_norm, or, "
                "under fp16, use training.mixed_precision=bf16."
            )
        images, then = self._logged
        self._logged = (self.images_seen, time.monotonic())
        speed = (self.images_seen - images) / max(self._logged[1] - then, 1e-9)
        self.tracker.log(self.images_seen, metrics, speed)

    @torch.no_grad()
    def _sample(self, gan: Gan) -> None:
        if self.rank != 0:
            return
        rows, columns = self.config.output.grid
        at = Positions(self.config.seed, 0, rows * columns)
        latents = draw_normal(at, Purpose.GRID_LATENTS, gan.latent_size)
        pictures = gan.ema.generator(latents.to(gan.accelerator.device))
        self.tracker.grid("fake", self.images_seen, tile(pictures, rows, columns))

    def _checkpoint(self, gan: Gan, meter: Meter) -> None:
        progress: dict[str, Any] = {
            "g_steps": self.g_steps,
            "logged_at": self.logged_at,
            "meter": meter.state(),
        }
        if not self._finite(progress["meter"]):
            return  # the next log stops the run; a checkpoint of it would be of no use
        if self.rank == 0:
            taken = snapshot(gan, self.config, self.images_seen, progress)
            write_checkpoint(taken, self.config.output.run_dir, self.config.output.keep_checkpoints)
            self.tracker.event("checkpoint", self.images_seen)
        gan.accelerator.wait_for_everyone()

    @staticmethod
    def _finite(meter_state: dict[str, Any]) -> bool:
        return all(math.isfinite(value) for sums in meter_state["sums"] for value in sums)
