"""Notices when the training has become half as fast, or might become faster again."""

from enum import IntEnum
from statistics import median

_WINDOW_SECONDS = 10.0
_WINDOW_ITERATIONS = 5
_FIRST_PAUSE = 60.0  # seconds after a trial before a loss of speed asks for the next one; doubles
_FIRST_RETRY = 300.0  # seconds before threads that were too many are tried again; doubles


class Doubt(IntEnum):
    """Why another number of threads may be faster now."""

    NONE = 0
    SPARE = 1
    SLOWER = 2

    @property
    def reason(self) -> str:
        """The reason in words."""
        return {
            Doubt.NONE: "",
            Doubt.SPARE: "other processes may have ended",
            Doubt.SLOWER: "the speed has halved",
        }[self]


class SpeedWatch:
    """Compares the speed of the last iterations with the best since the last trial.

    A speed is the median of a window of at least five iterations and ten seconds, so that neither a
    slow iteration nor a process that was suspended counts. Each trial doubles the time that must
    pass before the next: a load that comes and goes costs less and less.
    """

    def __init__(self) -> None:
        self._speeds: list[float] = []
        self._window = self._since_trial = self._best = 0.0
        self._pause, self._retry = _FIRST_PAUSE, _FIRST_RETRY

    def add(self, images: int, seconds: float, *, spare: bool) -> Doubt:
        """Note an iteration of so many images; return whether to try other numbers of threads.

        spare: the run uses fewer threads than it may.
        """
        self._speeds.append(images / max(seconds, 1e-9))
        self._window += seconds
        self._since_trial += seconds
        if len(self._speeds) < _WINDOW_ITERATIONS or self._window < _WINDOW_SECONDS:
            return Doubt.NONE
        speed = median(self._speeds)
        self._speeds, self._window = [], 0.0
        self._best = max(self._best, speed)
        if speed < self._best / 2 and self._since_trial >= self._pause:
            return Doubt.SLOWER
        return Doubt.SPARE if spare and self._since_trial >= self._retry else Doubt.NONE

    def tried(self, doubt: Doubt) -> None:
        """Start again after a trial for this reason."""
        self._speeds, self._window, self._since_trial, self._best = [], 0.0, 0.0, 0.0
        if doubt is Doubt.SLOWER:
            self._pause *= 2
        else:
            self._retry *= 2
