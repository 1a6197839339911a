"""The state of a run: everything that training changes, except networks and optimizers."""

import time
from dataclasses import dataclass, field

from gantrain.common.rng import PositionalRNG
from gantrain.common.set_identity import DataSet
from gantrain.config import Config
from gantrain.health.remedy_state import RemedyState
from gantrain.health.state import HealthState
from gantrain.runs.checkpoint import CpuThreads
from gantrain.training.batch import Moment, local_rng, steps_per_real_batch


@dataclass
class TrainingState:
    """The position of a run and what it has learned about itself.

    images_seen: real images that D has seen, over all ranks.
    g_steps: steps of the generator.
    logged_at: images seen at the last scheduled line of metrics.
    measured_at: images seen when the quality was last measured, -1 before that; None if a
        checkpoint of version 0.2 or earlier does not say it.
    scheduled_at: images seen when scheduled work was last considered.
    saved_at: images seen at the last checkpoint; -1 before the first.
    data: the set that the run is trained on.
    cpu_threads: the CPU threads of each rank so far; None on a GPU.
    clock: images seen at the last line of metrics, and time.monotonic() then, for the speed.
    speed: images/s of the last log interval.
    """

    config: Config
    rank: int
    world_size: int
    images_seen: int = 0
    g_steps: int = 0
    logged_at: int = 0
    measured_at: int | None = -1
    health: HealthState = field(default_factory=HealthState)
    remedies: RemedyState = field(default_factory=RemedyState)
    scheduled_at: int = 0
    saved_at: int = -1
    data: DataSet | None = None
    cpu_threads: CpuThreads | None = None
    clock: tuple[int, float] = field(default_factory=lambda: (0, time.monotonic()))
    speed: float = 0.0

    @property
    def batch_size(self) -> int:
        """The global batch size."""
        return self.config.training.batch_size

    @property
    def finished(self) -> bool:
        """Whether D has seen as many images as the config asks for."""
        return self.images_seen >= self.config.total_images

    @property
    def moment(self) -> Moment:
        """That of the next D step."""
        return Moment(
            self.images_seen, self.config.total_images, self.images_seen // self.batch_size
        )

    @property
    def d_rng(self) -> PositionalRNG:
        """This rank's positions in the batch of the next D step."""
        return local_rng(self.config, self.images_seen, self.rank, self.world_size)

    @property
    def g_rng(self) -> PositionalRNG:
        """This rank's positions in the batch of the next G step."""
        return local_rng(self.config, self.g_steps * self.batch_size, self.rank, self.world_size)

    @property
    def data_rng(self) -> PositionalRNG:
        """This rank's positions in the next real batch, in the sequence of training images."""
        start = self.images_seen // steps_per_real_batch(self.config)
        return local_rng(self.config, start, self.rank, self.world_size)

    def passed(self, every_kimg: float, since: int) -> bool:
        """Return whether a multiple of `every_kimg` was passed after `since` images seen."""
        every = every_kimg * 1000
        return self.images_seen // every > since // every

    def restart_clock(self) -> float:
        """Return the images/s since the last call with other images seen; restart the count."""
        images, then = self.clock
        self.clock = (self.images_seen, time.monotonic())
        if self.images_seen != images:
            self.speed = (self.images_seen - images) / max(self.clock[1] - then, 1e-9)
        return self.speed
