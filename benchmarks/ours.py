"""gantrain's own training, unchanged, in rounds: the real batches stop between them.

`Settings.rooms` says what becomes of everything beside the steps of the two players. usual: it is
as it is. timed: it has clocks, whose seconds are reported with each round. bare: it is left out.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch

import gantrain.train
from benchmarks.rounds import Link, Pacer, paced
from benchmarks.settings import Settings
from gantrain.config import parse_config
from gantrain.models.ema import Ema
from gantrain.runs.heartbeat import Heartbeat, Phase
from gantrain.runs.saver import Saver
from gantrain.training.meter import Meter
from gantrain.training.run import Run


class Clock:
    """Seconds and number of times by name, since they were last taken."""

    def __init__(self) -> None:
        self._seconds: dict[str, tuple[float, int]] = {}

    def add(self, name: str, seconds: float) -> None:
        before, times = self._seconds.get(name, (0.0, 0))
        self._seconds[name] = before + seconds, times + 1

    def take(self) -> dict[str, Any]:
        taken, self._seconds = self._seconds, {}
        return {"clock": taken} if taken else {}


def train_ours(settings: Settings, link: Link) -> None:
    """Train in rounds, as one rank of `settings.ranks`."""
    config = parse_config(settings.config, "benchmark")
    clock = Clock()
    pacer = Pacer(
        link,
        settings.images_per_iteration,
        settings.warmup,
        f"torch {torch.__version__}",
        clock.take,
    )
    real_batches = gantrain.train.real_batches

    def paced_batches(*sources: Any) -> Iterator[torch.Tensor]:
        return paced(real_batches(*sources), pacer, settings.critic_steps)

    with ExitStack() as changes:
        changes.enter_context(patch.object(gantrain.train, "real_batches", paced_batches))
        if settings.rooms == "bare":
            remove_rooms(changes)
        elif settings.rooms == "timed":
            time_rooms(changes, clock)
        gantrain.train.run_training(config)


def remove_rooms(changes: ExitStack) -> None:
    """Leave the players' steps alone in the loop."""
    for owner, name in ((Meter, "add"), (Ema, "update"), (Run, "after_iteration")):
        changes.enter_context(patch.object(owner, name, lambda *arguments: None))
    changes.enter_context(patch.object(Heartbeat, "phase", lambda *arguments: nullcontext()))
    changes.enter_context(patch.object(Heartbeat, "_beat", lambda *arguments: None))


def time_rooms(changes: ExitStack, clock: Clock) -> None:
    """Put clocks around what is beside the steps."""
    for owner, name, label in (
        (Meter, "add", "meter"),
        (Ema, "update", "ema"),
        (Run, "after_iteration", "after iteration"),
        (Saver, "_write", "checkpoint in the background"),
        (Heartbeat, "_write", "heartbeat's file"),
    ):
        timed = timing(getattr(owner, name), label, clock)
        changes.enter_context(patch.object(owner, name, timed))
    phase = timing_phases(Heartbeat.phase, clock)
    changes.enter_context(patch.object(Heartbeat, "phase", phase))


def timing(function: Callable[..., Any], label: str, clock: Clock) -> Callable[..., Any]:
    """The same function, which also adds its seconds to the clock."""

    def timed(*arguments: Any, **named: Any) -> Any:
        began = perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            clock.add(label, perf_counter() - began)

    return timed


def timing_phases(original: Callable[..., Any], clock: Clock) -> Callable[..., Any]:
    """`Heartbeat.phase`, which also adds to the clock: its own seconds, and each phase's."""

    @contextmanager
    def phase(heart: Heartbeat, name: Phase) -> Iterator[None]:
        began = perf_counter()
        with original(heart, name):
            entered = perf_counter()
            yield
            left = perf_counter()
        clock.add("phases", entered - began + perf_counter() - left)
        clock.add(f"phase {name}", left - entered)

    return phase
