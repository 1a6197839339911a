"""Writes checkpoints in the background, one at a time, and removes superseded ones."""

import threading
from collections.abc import Callable

from safetensors import SafetensorError

from gantrain.common.errors import UserError
from gantrain.config import OutputConfig
from gantrain.runs.best import export_best
from gantrain.runs.checkpoint import Snapshot, read_state, remove_checkpoint, write_checkpoint
from gantrain.runs.generator_file import Measured
from gantrain.runs.paths import GENERATOR_BEST, list_checkpoints


class Saver:
    """Training waits only for the copy to host memory; an error is raised by the next call.

    In all methods, best: the best measurement of the run so far; None if there is none.
    """

    def __init__(self, output: OutputConfig) -> None:
        self._output = output
        self._written: list[int] = []
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, snapshot: Snapshot, best: Measured | None) -> None:
        """Start writing a snapshot, once the previous one is written.

        If it is the one that was measured best, its EMA generator is exported.
        """
        self._start(lambda: self._write(snapshot, best))

    def keep(self, best: Measured) -> None:
        """Start exporting the generator of a checkpoint that was measured after it was saved."""
        self._start(lambda: self._export_and_prune(best))

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

    def _start(self, work: Callable[[], None]) -> None:
        self.finish()
        self._thread = threading.Thread(target=self._run, args=(work,), name="checkpoint")
        self._thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error

    def _write(self, snapshot: Snapshot, best: Measured | None) -> None:
        write_checkpoint(snapshot, self._output.run_dir)
        if best is not None and best.images_seen == snapshot.images_seen:
            self._export_and_prune(best)
        else:
            prune(self._output, best)
        self._written.append(snapshot.images_seen)

    def _export_and_prune(self, best: Measured) -> None:
        try:
            export_best(self._output.run_dir, best)
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{self._output.run_dir / GENERATOR_BEST}: cannot be written ({error}); free some "
                "space or fix the permissions, and start again: the run resumes from its newest "
                "checkpoint."
            ) from None
        prune(self._output, best)


def prune(output: OutputConfig, best: Measured | None) -> None:
    """Remove all checkpoints but the newest, those of keep_every_kimg, and the best one."""
    for images_seen, folder in list_checkpoints(output.run_dir)[output.keep_checkpoints :]:
        if best is not None and best.images_seen == images_seen:
            continue
        try:
            kept = read_state(folder).kept
        except UserError:
            kept = False  # a broken one is of no use
        if not kept:
            remove_checkpoint(folder)
