"""The W&B run of a training run. Whatever W&B does, the training continues."""

import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from PIL import Image

from gantrain.common.errors import describe
from gantrain.config import Config
from gantrain.runs.paths import WANDB_ID
from gantrain.runs.wandb_environment import Mode, clean_environment
from gantrain.runs.wandb_history import WandbHistory, find_missing, list_segments, read_history

logger = logging.getLogger(__name__)

_MAX_RESTARTS = 3  # of W&B's service, in one start of the run


class WandbRun:
    """Sends metrics, images and alerts to W&B.

    W&B's service is a process of its own, which Slurm signals with the trainer. SIGTERM ends it,
    and what it has not written is lost. It is started again then, as when the run resumes, and gets
    what the run directory has and W&B lacks.

    step: number of the last step that W&B was sent. It only grows, whereas images seen go back in
    a roll-back.
    """

    def __init__(self, config: Config, step: int) -> None:
        self._config = config
        self._mode: Mode = config.wandb.mode
        self._run: Any = None
        self._restarts = 0
        self._images_seen = -1
        self._history = WandbHistory()
        self.step = step

    def connect(self) -> None:
        """Start or resume the W&B run, offline if W&B cannot be reached; send what it lacks.

        Raises what W&B raises.
        """
        if self._mode == "disabled":
            return
        self._mode, notices = clean_environment(self._mode, os.environ)
        for notice in notices:
            logger.warning(f"W&B: {notice}.")
        if self._mode == "disabled":
            return
        try:
            self._start()
        except Exception as error:
            given = ", ".join(sorted(name for name in os.environ if name.startswith("WANDB_")))
            raise RuntimeError(
                f"{describe(error)}; the run continues without W&B"
                + (f". Set in the environment: {given}" if given else "")
            ) from error

    def log(self, images_seen: int, values: Mapping[str, Any]) -> None:
        """Send values on the images-seen axis, unless W&B has them. Raises what W&B raises."""
        if self._run is None or self._history.has(images_seen, values):
            return
        try:
            self._send(images_seen, values)
        except Exception as error:
            self._restart(error)
            if not self._history.has(images_seen, values):
                self._send(images_seen, values)

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Show values in the run's summary, which has no axis. Raises what W&B raises."""
        if self._run is not None:
            self._run.summary.update(dict(values))

    def describe(self, values: Mapping[str, Any]) -> None:
        """Add values to the run's config. Raises what W&B raises."""
        if self._run is not None:
            self._run.config.update(dict(values), allow_val_change=True)

    def log_image(self, images_seen: int, name: str, image: Image.Image, caption: str) -> None:
        """Send an image, unless W&B has it. Raises what W&B raises. caption: may be empty."""
        if self._run is not None and not self._history.has_image(images_seen, name):
            import wandb

            self.log(images_seen, {name: wandb.Image(image, caption=caption or None)})

    def alert(self, title: str, text: str) -> None:
        """Send an alert to the users of the W&B project."""
        if self._run is not None:
            with suppress(Exception):
                self._run.alert(title=title, text=text)

    def finish(self, *, failed: bool) -> None:
        """End the W&B run; a second call does nothing. Raises what W&B raises."""
        if self._run is None:
            return
        try:
            self._run.finish(exit_code=int(failed))
        except Exception as error:
            self._restart(error)
            self._run.finish(exit_code=int(failed))
        self._run = None
        with suppress(Exception, SystemExit):
            import wandb

            wandb.teardown()

    def _start(self) -> None:
        run_dir = self._config.output.run_dir
        earlier = list_segments(run_dir)
        # Without the files of earlier starts, they were uploaded and removed.
        uploaded = not earlier and (run_dir / WANDB_ID).exists()
        run = _start(self._config, self._mode)
        before_step = run.starting_step if run.resumed else None
        try:
            self._history = read_history(earlier, before_step)
        except Exception as error:  # whatever becomes of W&B's file format
            logger.warning(f"W&B: what it has cannot be read back ({describe(error)}).")
            uploaded = True
        self._run, self._images_seen = run, -1
        self.step = max(self.step, self._history.last_step, (before_step or 0) - 1)
        missing = [] if uploaded else find_missing(run_dir, self._history)
        if missing and earlier:
            logger.info(f"W&B: {len(missing)} records that it lacks are sent again.")
        for images_seen, values in missing:
            self._send(images_seen, values)

    def _restart(self, error: Exception) -> None:
        """Start W&B's service again. Raises the error after too many times."""
        import wandb

        self._run = None
        with suppress(Exception, SystemExit):
            wandb.teardown()
        if self._restarts >= _MAX_RESTARTS:
            raise error
        self._restarts += 1
        logger.info(f"W&B: its service ended ({describe(error)}) and is started again.")
        self._start()

    def _send(self, images_seen: int, values: Mapping[str, Any]) -> None:
        import wandb

        if images_seen != self._images_seen:
            self.step, self._images_seen = self.step + 1, images_seen
        self._history.add({**values, "images_seen": images_seen, "_step": self.step})
        sent = {k: wandb.Image(str(v)) if isinstance(v, Path) else v for k, v in values.items()}
        self._run.log({**sent, "images_seen": images_seen}, step=self.step)


def _start(config: Config, mode: Mode) -> Any:
    import wandb

    settings = config.wandb
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
    try:
        run = _init(_reachable(mode), arguments)
    except Exception as error:
        logger.warning(
            f"W&B is offline ({describe(error)}) Upload the run later with: "
            f"wandb sync {folder}/wandb/*"
        )
        with suppress(Exception, SystemExit):
            wandb.teardown()  # W&B's service still holds the run's id
        run = _init("offline", arguments)
    run.define_metric("images_seen")
    run.define_metric("*", step_metric="images_seen")
    return run


def _init(mode: Mode, arguments: Mapping[str, Any]) -> Any:
    import wandb

    with _hangup_ignored():
        wandb.setup(wandb.Settings(silent=True))
    return wandb.init(mode=mode, **arguments)


@contextmanager
def _hangup_ignored() -> Iterator[None]:
    """Start the service such that it survives a terminal that goes away.

    Of the signals that are ignored when it starts, it respects SIGHUP alone: for SIGTERM and SIGINT
    it has handlers, and the others do nothing to it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _reachable(mode: Mode) -> Mode:
    import wandb

    # wandb.init would ask for a key on a terminal, and in a batch job nobody answers.
    if mode == "online":
        with _hangup_ignored():
            wandb.setup(wandb.Settings(silent=True))
        if not wandb.login(prompt=False, verify=False):
            raise ConnectionError("no credentials; run `wandb login` or set WANDB_API_KEY.")
    return mode
