"""The CPU threads of a run: chosen by trials if the config asks for it, and always recorded."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gantrain.runs.checkpoint import CpuThreads
from gantrain.training.fastest_threads import candidates, fastest, time_each
from gantrain.training.speed_watch import Doubt, SpeedWatch
from gantrain.training.state import TrainingState
from gantrain.training.thread_trial import Trial
from gantrain.training.threads import share_of_cores, slowdown, threads_of_user

_BUDGET = 1.5  # seconds of a trial after which it ends if it can
_AGREE_EVERY = 4  # iterations: agreeing waits for the slowest rank
_HOPELESS = 3.0  # so much slower than one thread, a number is not tried
_GAIN = 1.2  # by which another number must be faster for a run to change in mid-training


@dataclass(frozen=True)
class Choice:
    """The outcome of a trial. before: the number until now, 0 at the start of a run.

    milliseconds: those of a D and a G step of `images` images on each rank, by number of threads;
    empty if there was only one to try. waiting: numbers of threads that wait for busy cores, and
    were not tried.
    """

    number: int
    before: int
    limit: int
    images: int
    milliseconds: dict[int, float]
    waiting: list[int]
    reason: str

    @property
    def line(self) -> str:
        """What the user reads about it."""
        instead = f" instead of {self.before}" if self.before not in (0, self.number) else ""
        kept = "still " if self.number == self.before else ""
        since = f"since {self.reason}: " if self.reason else ""
        evidence = []
        if self.milliseconds:
            times = ", ".join(f"{n}: {ms:,.0f} ms" for n, ms in self.milliseconds.items())
            evidence.append(f"the fastest in a trial ({times} for {self.images} images)")
        if self.waiting:
            numbers = ", ".join(map(str, self.waiting))
            evidence.append(f"{numbers} would wait for cores that other processes use")
        return (
            f"cpu: {since}{kept}{self.number} of {self.limit} threads a rank{instead}, "
            + "; ".join(evidence)
        )


class ThreadChoice:
    """Sets the number of threads of this rank, the same on all ranks, and records it in the state.

    With training.cpu_threads auto or once, a trial chooses it at the start; with auto, another one
    if the speed halves, or, after some minutes, if the run uses fewer threads than it may. A
    checkpoint's number is kept on as many ranks, so that a run resumes bit for bit. If the config
    or the user gives a number, it is only recorded.

    All methods are collective calls.
    """

    def __init__(
        self, state: TrainingState, trial: Trial, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._state, self._trial, self._clock = state, trial, clock
        setting = state.config.training.cpu_threads
        self._limit = 0  # if nothing is tried
        tries = trial.on_cpu and setting in ("auto", "once")
        if tries and not trial.largest(threads_of_user()):
            self._limit = -int(trial.largest(-share_of_cores()))  # the smallest share of all ranks
        self._watch = SpeedWatch() if setting == "auto" and self._limit > 1 else None
        self._doubt = Doubt.NONE
        self._iterations, self._left = 0, clock()

    def start(self, kept: CpuThreads | None) -> Choice | None:
        """Set the number of threads, before anything is computed; return the choice of a trial.

        kept: the record of the checkpoint from which the run resumes.
        """
        if not self._trial.on_cpu:
            return None
        state = self._state
        state.cpu_threads = kept
        choice, number = None, torch.get_num_threads()
        same_ranks = kept is not None and kept.world_size == state.world_size
        if self._limit and kept is not None and same_ranks and kept.number <= self._limit:
            number = kept.number
        elif self._limit == 1:
            number = 1
        elif self._limit:
            choice = self._try(Doubt.NONE)
            number = choice.number
        torch.set_num_threads(number)
        return choice

    def record(self) -> None:
        """Record the number from the images on that the run has seen."""
        state, number = self._state, torch.get_num_threads()
        if not self._trial.on_cpu:
            return
        if state.cpu_threads is None:
            first = [(state.images_seen, number)]
            state.cpu_threads = CpuThreads(world_size=state.world_size, changes=first)
        else:
            state.cpu_threads = state.cpu_threads.changed_to(
                number, state.images_seen, state.world_size
            )

    def begin(self) -> None:
        """Start the clock for the next iteration."""
        self._left = self._clock()

    def in_doubt(self, images: int) -> bool:
        """Return whether to call `again`, after an iteration of so many images."""
        if self._watch is None:
            return False
        spare = torch.get_num_threads() < self._limit
        doubt = self._watch.add(images, self._clock() - self._left, spare=spare)
        self._doubt = max(self._doubt, doubt)
        self._iterations += 1
        if self._state.world_size > 1:
            if self._iterations % _AGREE_EVERY:
                return False
            self._doubt = Doubt(int(self._trial.largest(self._doubt)))
        return self._doubt is not Doubt.NONE

    def again(self) -> Choice:
        """Try the numbers of threads again, and change to one that is clearly faster."""
        assert self._watch is not None
        choice = self._try(self._doubt)
        self._watch.tried(self._doubt)
        self._doubt = Doubt.NONE
        torch.set_num_threads(choice.number)
        self.record()
        return choice

    def _try(self, doubt: Doubt) -> Choice:
        before = torch.get_num_threads() if doubt else 0
        numbers = sorted({*candidates(self._limit), *([before] if before else [])})
        # A whole step with threads that wait for busy cores could take half a minute.
        waiting = [n for n in numbers[1:] if self._trial.largest(slowdown(n)) > _HOPELESS]
        tried = [n for n in numbers if n not in waiting]
        seconds, images = dict.fromkeys(tried, 0.0), 0
        if len(tried) > 1:
            seconds_of, images = self._trial.timer(self._limit, self._clock)
            seconds = time_each(tried, seconds_of, _BUDGET)
        number = fastest(seconds)
        if before in seconds and seconds[before] < _GAIN * seconds[number]:
            number = before
        milliseconds = {n: round(1000 * each, 1) for n, each in seconds.items() if each}
        return Choice(number, before, self._limit, images, milliseconds, waiting, doubt.reason)
