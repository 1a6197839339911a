"""What is wrong with images and shards: stopped at, or left out and counted."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from gantrain.common.errors import UserError

OnError = Literal["fail", "skip"]


class ScratchError(UserError):
    """This machine's scratch refuses, which is no fault of a shard and cannot be skipped."""


@dataclass(frozen=True)
class Fault:
    """Something broken in a set of shards.

    where: the shard, and the member where there is one.
    reason: a sentence without its dot.
    images: how many are left out for it; 0 where all could be saved.
    met_by: whether every rank comes across it, or one alone.
    """

    where: str
    reason: str
    images: int
    met_by: Literal["all ranks", "one rank"] = "all ranks"

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class FaultLog:
    """Counts the faults of a run, each once, and passes them on to those who listen."""

    def __init__(self, on_error: OnError) -> None:
        self._on_error = on_error
        self._faults: dict[Fault, None] = {}
        self._listeners: list[Callable[[Fault], None]] = []

    @property
    def faults(self) -> list[Fault]:
        """Those so far, in the order in which they were met."""
        return list(self._faults)

    @property
    def images(self) -> int:
        """Images that are left out."""
        return sum(fault.images for fault in self._faults)

    def add(self, faults: Iterable[Fault]) -> None:
        """Count faults; raises UserError at the first one if they are to stop the run."""
        for fault in faults:
            if self._on_error == "fail":
                raise UserError(
                    f"{fault}. Write the set again, or leave what is broken out with "
                    "data.on_error=skip; `gantrain data verify` lists all that is wrong."
                )
            if fault not in self._faults:
                self._faults[fault] = None
                for listener in self._listeners:
                    listener(fault)

    def listen(self, listener: Callable[[Fault], None]) -> None:
        """Call `listener` with each fault: those so far at once, the others as they are met."""
        self._listeners.append(listener)
        for fault in self._faults:
            listener(fault)


def os_reason(error: OSError) -> str:
    """What the system says of an error."""
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error))
