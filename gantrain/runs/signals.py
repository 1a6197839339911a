"""Signals become a request to stop, on which all ranks agree between two steps."""

import signal
from contextlib import AbstractContextManager
from types import FrameType

import torch
from accelerate import Accelerator

from gantrain.common.errors import INTERRUPTED_STATUS, REQUEUE_STATUS, StoppedError
from gantrain.common.stopping import INTERRUPTING, PREEMPTING, handling


class StopRequest:
    """Whether this process was asked to save the run and end.

    signal: the number of the last signal received, 0 before the first.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.signal = 0
        self._group = None
        if accelerator.num_processes > 1:
            # A group of the hosts: agreeing does not wait for a GPU.
            self._group = torch.distributed.new_group(backend="gloo")

    def listening(self) -> AbstractContextManager[None]:
        """Within it, signals are only recorded; a second SIGINT ends the process at once."""
        return handling(self._record, *PREEMPTING, *INTERRUPTING)

    def _record(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def agreed(self) -> int:
        """Return the signal to stop on, the same on all ranks, or 0. A collective call."""
        if self._group is None:
            return self.signal
        request = torch.tensor(self.signal, dtype=torch.int32)
        torch.distributed.all_reduce(request, torch.distributed.ReduceOp.MAX, group=self._group)
        return int(request)


def stopped_by(number: int, images_seen: int) -> tuple[str, StoppedError]:
    """Return the run's new state, and the error that ends it, for a signal that was agreed on."""
    name = signal.Signals(number).name
    if number in INTERRUPTING:
        how = "" if number == signal.SIGINT else f" by {name}"
        message = f"Interrupted{how} at {images_seen:,} images and saved; start again to resume."
        return "interrupted", StoppedError(message, INTERRUPTED_STATUS)
    message = f"Preempted by {name} at {images_seen:,} images and saved; requeue to resume."
    return "preempted", StoppedError(message, REQUEUE_STATUS)
