"""Writes checkpoints in the background, one in flight, and removes those that are too many."""

import math
import threading
from pathlib import Path

from gantrain.common.errors import UserError
from gantrain.config import OutputConfig
from gantrain.runs.checkpoint import (
    Snapshot,
    list_checkpoints,
    read_state,
    remove_checkpoint,
    write_checkpoint,
)


class Saver:
    """The training waits for the copy to host memory only; an error surfaces at the next call."""

    def __init__(self, output: OutputConfig) -> None:
        self._output = output
        self._written: list[int] = []
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, taken: Snapshot) -> None:
        """Begin to write a snapshot, after the one in flight is done."""
        self.finish()
        self._thread = threading.Thread(target=self._write, args=(taken,), name="checkpoint")
        self._thread.start()

    def finish(self) -> None:
        """Wait for the checkpoint in flight. Raises what stopped it, UserError for a full disk."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raise what stopped the last checkpoint, if anything did; waits for nothing."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def take_written(self) -> list[int]:
        """Images seen of the checkpoints that were finished since the last call."""
        written, self._written = self._written, []
        return written

    def _write(self, taken: Snapshot) -> None:
        try:
            write_checkpoint(taken, self._output.run_dir)
            prune(self._output)
            self._written.append(taken.images_seen)
        except BaseException as error:
            self._error = error


def prune(output: OutputConfig) -> None:
    """Remove checkpoints but the newest, those that mark the kimg, and the best."""
    old = list_checkpoints(output.run_dir)[output.keep_checkpoints :]
    best = best_checkpoint(output)
    for folder in old:
        try:
            kept = read_state(folder).kept
        except UserError:
            kept = False  # a broken one is of no use to anybody
        if not kept and folder != best:
            remove_checkpoint(folder)


def best_checkpoint(output: OutputConfig) -> Path | None:
    """The checkpoint with the best value of output.keep_best, if that is set and was measured."""
    if output.keep_best is None:
        return None
    sign = 1.0 if output.keep_best_is == "lowest" else -1.0
    values: dict[Path, float] = {}
    for folder in list_checkpoints(output.run_dir):
        try:
            value = read_state(folder).progress.newest_metrics.get(output.keep_best, math.nan)
        except UserError:
            continue
        if math.isfinite(value):
            values[folder] = sign * value
    return min(values, key=values.__getitem__) if values else None
