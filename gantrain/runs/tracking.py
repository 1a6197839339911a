"""What a run tells the world: metrics.jsonl, events.jsonl, status.json, sample grids, W&B."""

import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from gantrain.common.files import append_json, write_json, write_text
from gantrain.common.grids import save_png
from gantrain.config import Config
from gantrain.runs.progress import ProgressLine

logger = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
STATUS = "status.json"
SAMPLES = "samples"
_WANDB_ID = "wandb-id.txt"


class Tracker:
    """Writes to the run directory, and to W&B if asked. Does nothing on ranks that do not `write`.

    Nothing that W&B does stops the training. `step` counts what W&B was sent: it only ever grows,
    where images seen go back in a roll-back.
    """

    def __init__(
        self, config: Config, logged_at: int, step: int, progress: ProgressLine, *, write: bool
    ) -> None:
        self._write = write
        self._folder = config.output.run_dir
        self._total = config.total_images
        self._progress = progress
        self.step = step
        self._sent_at = -1
        self._wandb: Any = None
        if write:
            (self._folder / SAMPLES).mkdir(parents=True, exist_ok=True)
            self.rewind(logged_at)
            self._wandb = _start_wandb(config, progress)

    def rewind(self, logged_at: int) -> None:
        """Forget the metrics after these images seen, which will come again."""
        if self._write:
            kept = [x for x in read_metrics(self._folder) if x["images_seen"] <= logged_at]
            write_text(self._folder / METRICS, "".join(json.dumps(line) + "\n" for line in kept))

    def log(self, images_seen: int, metrics: Mapping[str, float], speed: float) -> None:
        """One line of means, at the images seen."""
        if not self._write:
            return
        line = {"images_seen": images_seen, **metrics, "speed/images_per_second": round(speed, 1)}
        append_json(self._folder / METRICS, line)
        self._progress.update(images_seen, speed, metrics)
        self._send(images_seen, line)
        self.status("running", images_seen)

    def grid(self, name: str, images_seen: int, image: Image.Image) -> Path:
        """Save a grid as `samples/NAME-IMAGES.png`; gives its path."""
        path = self._folder / SAMPLES / f"{name}-{images_seen:09d}.png"
        save_png(image, path)
        self._send_image(images_seen, f"samples/{name}", image)
        return path

    def real_grid(self, image: Image.Image) -> None:
        """Save real images beside the samples, once a run."""
        path = self._folder / SAMPLES / "real.png"
        if self._write and not path.exists():
            save_png(image, path)
            self._send_image(0, "samples/real", image)

    def event(self, kind: str, images_seen: int, *, alert: bool = False, **details: object) -> None:
        """Something that happened once, for people and for the report; W&B shows its number.

        alert: tell W&B's users at once.
        """
        if self._write:
            append_event(self._folder, kind, images_seen, **details)
            self._send(images_seen, {f"events/{kind}": 1})
            if alert and self._wandb is not None:
                with suppress(Exception):
                    self._wandb.alert(title=kind, text=str(details.get("reason", "")))

    def status(self, state: str, images_seen: int, reason: str = "") -> None:
        """How the run stands, for those who look from outside."""
        if self._write:
            write_json(
                self._folder / STATUS,
                {
                    "state": state,
                    "reason": reason,
                    "images_seen": images_seen,
                    "total_images": self._total,
                    "time": time.time(),
                    "host": socket.gethostname(),
                    "pid": os.getpid(),
                },
                durable=state != "running",
            )

    def close(self, *, failed: bool = False) -> None:
        """End W&B's run; the files need no closing."""
        if self._wandb is not None:
            try:
                self._wandb.finish(exit_code=int(failed))
            except Exception as error:
                logger.warning(f"W&B did not end cleanly ({error}); the run directory is complete.")
            self._wandb = None

    def _send_image(self, images_seen: int, name: str, image: Image.Image) -> None:
        if self._wandb is not None:
            import wandb

            self._send(images_seen, {name: wandb.Image(image)})

    def _send(self, images_seen: int, line: Mapping[str, object]) -> None:
        if self._wandb is None:
            return
        try:
            if images_seen != self._sent_at:
                self.step, self._sent_at = self.step + 1, images_seen
            self._wandb.log({**line, "images_seen": images_seen}, step=self.step)
        except Exception as error:  # whatever W&B raises, the training is worth more
            logger.warning(f"W&B stopped taking metrics ({error}); metrics.jsonl goes on.")
            self._wandb = None


def append_event(run_dir: Path, kind: str, images_seen: int, **details: object) -> None:
    """Add a line to a run's events.jsonl, which any rank may do."""
    line = {"time": time.time(), "images_seen": images_seen, "event": kind, **details}
    append_json(run_dir / EVENTS, line)


def read_metrics(run_dir: Path) -> list[dict[str, float]]:
    """The lines of a run's metrics.jsonl, oldest first; a last line cut short is left out."""
    path = run_dir / METRICS
    lines = []
    if path.exists():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
    return lines


def _start_wandb(config: Config, progress: ProgressLine) -> Any:
    settings = config.wandb
    if settings.mode == "disabled":
        return None
    import wandb

    folder = config.output.run_dir
    id_file = folder / _WANDB_ID
    if not id_file.exists():
        id_file.write_text(secrets.token_hex(4), encoding="utf-8")
    arguments: dict[str, Any] = {
        "project": settings.project,
        "entity": settings.entity,
        "group": settings.group,
        "name": settings.name or folder.resolve().name,
        "tags": settings.tags,
        "id": id_file.read_text(encoding="utf-8").strip(),
        "resume": "allow",
        "dir": folder,
        "config": config.model_dump(mode="json"),
        "settings": wandb.Settings(
            init_timeout=settings.connect_seconds, console="off", silent=True, save_code=False
        ),
    }
    wandb.setup(wandb.Settings(silent=True))
    try:
        run = wandb.init(mode=_reachable_mode(settings.mode), **arguments)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        wandb.teardown()  # W&B's service still holds the run's id
        logger.warning(f"W&B is offline ({reason}) Send the run later: wandb sync {folder}/wandb/*")
        try:
            run = wandb.init(mode="offline", **arguments)
        except Exception as second:
            logger.warning(f"W&B does not start ({second}); the run goes on without it.")
            return None
    run.define_metric("images_seen")
    run.define_metric("*", step_metric="images_seen")
    return run


def _reachable_mode(mode: str) -> Any:
    import wandb

    # wandb.init would ask for a key on a terminal, and a batch job has nobody to answer.
    if mode == "online" and not wandb.login(prompt=False, verify=False):
        raise ConnectionError("no credentials; run `wandb login` or set WANDB_API_KEY.")
    return mode
