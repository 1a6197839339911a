"""Signals become a request to stop, on which all ranks agree between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from accelerate import Accelerator

from gantrain.common.errors import INTERRUPTED_STATUS, REQUEUE_STATUS, StoppedError

# Slurm's warning before a time limit; submitit's and Slurm's notice of a preemption.
_PREEMPTING = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)


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

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it, signals are only recorded; a second SIGINT ends the process at once."""
        handled = (*_PREEMPTING, signal.SIGINT)
        before = {number: signal.signal(number, self._record) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

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
    if number == signal.SIGINT:
        message = f"Interrupted at {images_seen:,} images and saved; start again to resume."
        return "interrupted", StoppedError(message, INTERRUPTED_STATUS)
    message = f"Preempted by {name} at {images_seen:,} images and saved; requeue to resume."
    return "preempted", StoppedError(message, REQUEUE_STATUS)
