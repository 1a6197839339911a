"""Writes checkpoints in the background, one at a time, and removes superseded ones."""

import math
import threading
from pathlib import Path

from gantrain.common.errors import UserError
from gantrain.config import OutputConfig
from gantrain.runs.checkpoint import Snapshot, read_state, remove_checkpoint, write_checkpoint
from gantrain.runs.paths import list_checkpoints


class Saver:
    """Training waits only for the copy to host memory; an error is raised by the next call."""

    def __init__(self, output: OutputConfig) -> None:
        self._output = output
        self._written: list[int] = []
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, snapshot: Snapshot) -> None:
        """Start writing a snapshot, once the previous one is written."""
        self.finish()
        self._thread = threading.Thread(target=self._write, args=(snapshot,), name="checkpoint")
        self._thread.start()

    def finish(self) -> None:
        """Wait for the checkpoint that is being written.

        Raises what stopped it: UserError if the disk is full.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raise what stopped the last checkpoint, if anything did, without waiting."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def take_written(self) -> list[int]:
        """Return images seen of the checkpoints that were completed since the last call."""
        written, self._written = self._written, []
        return written

    def _write(self, snapshot: Snapshot) -> None:
        try:
            write_checkpoint(snapshot, self._output.run_dir)
            prune(self._output)
            self._written.append(snapshot.images_seen)
        except BaseException as error:
            self._error = error


def prune(output: OutputConfig) -> None:
    """Remove all checkpoints but the newest, those of keep_every_kimg, and the best one."""
    superseded = list_checkpoints(output.run_dir)[output.keep_checkpoints :]
    best = best_checkpoint(output)
    for _, folder in superseded:
        try:
            kept = read_state(folder).kept
        except UserError:
            kept = False  # a broken one is of no use
        if not kept and folder != best:
            remove_checkpoint(folder)


def best_checkpoint(output: OutputConfig) -> Path | None:
    """Return the checkpoint with the best value of output.keep_best, if it was measured."""
    if output.keep_best is None:
        return None
    sign = 1.0 if output.keep_best_is == "lowest" else -1.0
    values: dict[Path, float] = {}
    for _, folder in list_checkpoints(output.run_dir):
        try:
            value = read_state(folder).progress.newest_metrics.get(output.keep_best, math.nan)
        except UserError:
            continue
        if math.isfinite(value):
            values[folder] = sign * value
    return min(values, key=values.__getitem__) if values else None
