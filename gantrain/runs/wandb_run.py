"""The W&B run of a training run. Whatever W&B does, the training continues."""

import logging
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from PIL import Image

from gantrain.config import Config
from gantrain.runs.paths import WANDB_ID

logger = logging.getLogger(__name__)


class WandbRun:
    """Sends metrics, images and alerts to W&B.

    step: number of the last step that W&B was sent. It only grows, whereas images seen go back in
    a roll-back.
    """

    def __init__(self, run: Any, step: int) -> None:
        self._run = run
        self._images_seen = -1
        self.step = step

    def log(self, images_seen: int, values: Mapping[str, object]) -> None:
        """Send values on the images-seen axis. Raises what W&B raises, and then sends no more."""
        if self._run is None:
            return
        try:
            if images_seen != self._images_seen:
                self.step, self._images_seen = self.step + 1, images_seen
            self._run.log({**values, "images_seen": images_seen}, step=self.step)
        except Exception:
            self._run = None
            raise

    def log_image(self, images_seen: int, name: str, image: Image.Image) -> None:
        """Send an image."""
        if self._run is not None:
            import wandb

            self.log(images_seen, {name: wandb.Image(image)})

    def alert(self, title: str, text: str) -> None:
        """Send an alert to the users of the W&B project."""
        if self._run is not None:
            with suppress(Exception):
                self._run.alert(title=title, text=text)

    def finish(self, *, failed: bool) -> None:
        """End the W&B run; a second call does nothing. Raises what W&B raises."""
        run, self._run = self._run, None
        if run is not None:
            run.finish(exit_code=int(failed))


def start_wandb(config: Config, step: int) -> WandbRun:
    """Start or resume the W&B run, offline if W&B cannot be reached.

    step: the last one that was sent before. With wandb.mode=disabled nothing is ever sent.
    """
    return WandbRun(_start(config), step)


def _start(config: Config) -> Any:
    settings = config.wandb
    if settings.mode == "disabled":
        return None
    import wandb

    folder = config.output.run_dir
    id_file = folder / WANDB_ID
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
        logger.warning(
            f"W&B is offline ({reason}) Upload the run later with: wandb sync {folder}/wandb/*"
        )
        try:
            run = wandb.init(mode="offline", **arguments)
        except Exception as second:
            logger.warning(f"W&B does not start ({second}); the run continues without it.")
            return None
    run.define_metric("images_seen")
    run.define_metric("*", step_metric="images_seen")
    return run


def _reachable_mode(mode: str) -> Any:
    import wandb

    # wandb.init would ask for a key on a terminal, and in a batch job nobody answers.
    if mode == "online" and not wandb.login(prompt=False, verify=False):
        raise ConnectionError("no credentials; run `wandb login` or set WANDB_API_KEY.")
    return mode
