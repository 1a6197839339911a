"""Damaged images and shards: an error, or skipped and counted."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from gantrain.common.errors import UserError

OnError = Literal["fail", "skip"]
WRITE_AGAIN = "Write the set again"


class ScratchError(UserError):
    """This machine's scratch folder cannot be written; no shard is at fault, so never skipped."""


@dataclass(frozen=True)
class Fault:
    """A defect in a set of shards.

    where: the shard, and the member where there is one.
    reason: a sentence without a full stop.
    images: number of images skipped because of it; 0 if all could be recovered.
    seen_by: whether every rank encounters it, or only one.
    """

    where: str
    reason: str
    images: int
    seen_by: Literal["all ranks", "one rank"] = "all ranks"

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class FaultLog:
    """Counts each fault of a run once, and passes it on to listeners.

    repair: what helps if the set is damaged, for error messages.
    """

    def __init__(self, on_error: OnError, repair: str = WRITE_AGAIN) -> None:
        self._on_error = on_error
        self._repair = repair
        self._faults: dict[Fault, None] = {}
        self._listeners: list[Callable[[Fault], None]] = []

    @property
    def faults(self) -> list[Fault]:
        """The faults so far, oldest first."""
        return list(self._faults)

    @property
    def images(self) -> int:
        """Number of images skipped."""
        return sum(fault.images for fault in self._faults)

    def add(self, faults: Iterable[Fault]) -> None:
        """Count faults. Raises UserError at the first one if `on_error` is "fail"."""
        for fault in faults:
            if self._on_error == "fail":
                raise UserError(
                    f"{fault}. {self._repair}, or skip damaged images with "
                    "data.on_error=skip; `gantrain data verify` lists all problems."
                )
            if fault not in self._faults:
                self._faults[fault] = None
                for listener in self._listeners:
                    listener(fault)

    def listen(self, listener: Callable[[Fault], None]) -> None:
        """Call `listener` with each fault: now with those so far, later with each new one."""
        self._listeners.append(listener)
        for fault in self._faults:
            listener(fault)
