"""What a run records: metrics.jsonl, events.jsonl, status.json, sample grids, W&B."""

import os
import socket
import time
from collections.abc import Mapping

from PIL import Image

from gantrain.common.files import write_json
from gantrain.common.grids import save_png
from gantrain.common.streams import losses
from gantrain.config import Config
from gantrain.runs.failures import Failures
from gantrain.runs.metrics_file import drop_metrics_after, extend_last_metrics
from gantrain.runs.paths import METRICS, PROVENANCE, REAL_SAMPLES, SAMPLES, STATUS, grid_file
from gantrain.runs.progress import ProgressLine
from gantrain.runs.provenance import AttemptRecord
from gantrain.runs.records import LineFile, event_record
from gantrain.runs.standing import UNKNOWN, Standing
from gantrain.runs.wandb_run import WandbRun


class Tracker:
    """Writes to the run directory and, if configured, to W&B. Only a rank with `write` does.

    What cannot be written is recorded in `failures`; the training continues.

    logged_at: images seen at the last line of metrics so far.
    step: the last step that W&B was sent, 0 in a new run.
    attempt: what run.json says of this start; None if it trains nothing.
    standing: what the status says of the training and of the quality.
    cpu_threads: of each rank, in the status; None on a GPU.
    """

    def __init__(
        self,
        config: Config,
        logged_at: int,
        step: int,
        progress: ProgressLine,
        failures: Failures,
        attempt: AttemptRecord | None = None,
        *,
        write: bool,
    ) -> None:
        self._config = config
        self._write = write
        self._run_dir = config.output.run_dir
        self._progress = progress
        self._failures = failures
        self._attempt = attempt
        self._speed: dict[str, float] = {}
        self._metrics = LineFile(self._run_dir / METRICS)
        self._wandb = WandbRun(config, step)
        self._logged_at = logged_at
        self.standing = UNKNOWN
        self.cpu_threads: int | None = None
        if write:
            (self._run_dir / SAMPLES).mkdir(parents=True, exist_ok=True)

    def connect(self) -> None:
        """Start the W&B run, which may take seconds; until then nothing is sent there."""
        if self._write:
            with self._failures.contain("W&B"):
                self._wandb.connect()

    @property
    def step(self) -> int:
        """Number of the last step that W&B was sent."""
        return self._wandb.step

    def rewind(self, logged_at: int, measured_at: int | None) -> None:
        """Remove the metrics after `logged_at` images; the run writes them again.

        measured_at: as for `drop_metrics_after`.
        """
        self._logged_at = logged_at
        if self._write:
            drop_metrics_after(self._run_dir, logged_at, measured_at)

    def log(
        self, images_seen: int, metrics: Mapping[str, float], speed: float, standing: Standing
    ) -> None:
        """Write one line of metrics. speed: images/s; standing: what the line says of the run.

        A second line at the same number of images, with which a run may end, extends the first.
        """
        if not self._write:
            return
        contain = self._failures.contain
        line = {"images_seen": images_seen, **metrics, "speed/images_per_second": round(speed, 1)}
        with contain(METRICS):
            extended = images_seen == self._logged_at and extend_last_metrics(self._run_dir, line)
            if not extended:
                self._metrics.append(line)
        self._logged_at = images_seen
        if speed > 0:
            apart = _images_per_line(self._config) / speed
            self._speed = {"images_per_second": round(speed, 1), "log_seconds": round(apart, 1)}
        with contain("progress line"):
            self._progress.update(images_seen, speed, metrics, standing)
        for stream, error in losses().items():
            self._failures.record(stream, error)
        with contain("W&B"):
            self._wandb.log(images_seen, line)
            if self._attempt is not None and (facts := self._attempt.take_facts()) is not None:
                self._wandb.describe({"run": facts})
            if standing != self.standing:
                self._wandb.summarise(standing.to_record())
        self.standing = standing
        self.status("running", images_seen)

    def grid(self, name: str, images_seen: int, image: Image.Image, caption: str = "") -> None:
        """Save a grid as `samples/NAME-IMAGES.png`. caption: shown below it by W&B."""
        with self._failures.contain("samples"):
            save_png(image, grid_file(self._run_dir, name, images_seen))
        with self._failures.contain("W&B"):
            self._wandb.log_image(images_seen, f"samples/{name}", image, caption)

    def real_grid(self, image: Image.Image, caption: str = "") -> None:
        """Save a grid of real images next to the samples, once in a run. caption: as for `grid`."""
        path = self._run_dir / SAMPLES / REAL_SAMPLES
        if self._write and not path.exists():
            with self._failures.contain("samples"):
                save_png(image, path)
            with self._failures.contain("W&B"):
                self._wandb.log_image(0, "samples/real", image, caption)

    def event(self, kind: str, images_seen: int, *, alert: bool = False, **details: object) -> None:
        """Record something that happened once. alert: also alert the users of the W&B project."""
        if not self._write:
            return
        with self._failures.contain("events.jsonl"):
            self._failures.events.append(event_record(kind, images_seen, **details))
        with self._failures.contain("W&B"):
            self._wandb.log(images_seen, {f"events/{kind}": 1})
            if alert:
                self._wandb.alert(kind, str(details.get("reason", "")))

    def status(self, state: str, images_seen: int, reason: str = "") -> None:
        """Write status.json, from which other processes read the state of the run."""
        if not self._write:
            return
        with self._failures.contain(STATUS):
            write_json(
                self._run_dir / STATUS,
                {
                    "state": state,
                    "reason": reason,
                    "images_seen": images_seen,
                    "total_images": self._config.total_images,
                    **self._speed,
                    "time": time.time(),
                    "host": socket.gethostname(),
                    "pid": os.getpid(),
                    **({"cpu_threads": self.cpu_threads} if self.cpu_threads else {}),
                    **self.standing.to_record(),
                },
                durable=state != "running",
            )
        if state == "running" or self._attempt is None:
            return
        with self._failures.contain(PROVENANCE):
            self._attempt.end(state, images_seen, reason)
        with self._failures.contain("W&B"):
            self._wandb.summarise(self._attempt.summary())

    def close(self, *, failed: bool = False) -> None:
        """End the W&B run; the files need no closing."""
        with self._failures.contain("W&B"):
            self._wandb.finish(failed=failed)


def _images_per_line(config: Config) -> float:
    """Return the images seen between two lines of metrics, at least those of an iteration."""
    iteration = config.training.batch_size * config.objective.n_critic
    return max(1000 * config.output.log_every_kimg, iteration)
