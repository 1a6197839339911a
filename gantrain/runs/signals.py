"""Signals become a wish to stop, on which all ranks agree between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from accelerate import Accelerator

from gantrain.common.errors import INTERRUPTED_STATUS, REQUEUE_STATUS, StoppedError

# Slurm's warning before a time limit, submitit's and Slurm's word of a preemption.
_PREEMPTING = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)


class StopRequest:
    """Whether somebody wants this process to save itself and end."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.signal = 0
        self._group = None
        if accelerator.num_processes > 1:
            # A group of the hosts: to ask costs no wait for a GPU.
            self._group = torch.distributed.new_group(backend="gloo")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it, signals only leave a wish; a second SIGINT ends the process at once."""
        wanted = (*_PREEMPTING, signal.SIGINT)
        before = {number: signal.signal(number, self._take) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def agreed(self) -> int:
        """The signal on which to stop, the same on all ranks, or 0. All ranks call it together."""
        if self._group is None:
            return self.signal
        wish = torch.tensor(self.signal, dtype=torch.int32)
        torch.distributed.all_reduce(wish, torch.distributed.ReduceOp.MAX, group=self._group)
        return int(wish)


def stopped_by(number: int, images_seen: int) -> tuple[str, StoppedError]:
    """The run's new state and the error that ends it, for an agreed signal."""
    name = signal.Signals(number).name
    if number == signal.SIGINT:
        message = f"Interrupted at {images_seen:,} images and saved; start again to go on."
        return "interrupted", StoppedError(message, INTERRUPTED_STATUS)
    message = f"Preempted by {name} at {images_seen:,} images and saved; requeue to go on."
    return "preempted", StoppedError(message, REQUEUE_STATUS)
