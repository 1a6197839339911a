"""gantrain's own training, unchanged, in rounds: it pauses where it fetches the real batches.

`Settings.services` selects what happens to everything outside the D and G steps. on: nothing
changes. timed: it is timed, and the seconds are reported with each round. off: it is left out.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch

import gantrain.train
from benchmarks.device import BenchmarkDevice
from benchmarks.pacing import Channel, Pacer, paced
from benchmarks.settings import Settings
from gantrain.config import parse_config
from gantrain.data.loading.datasets import Images
from gantrain.models.ema import Ema
from gantrain.runs.heartbeat import Heartbeat, Phase
from gantrain.runs.saver import Saver
from gantrain.training.batch import real_batches
from gantrain.training.meter import Meter
from gantrain.training.schedule import Schedule


class Timings:
    """Total seconds and number of calls, by label, since they were last taken."""

    def __init__(self) -> None:
        self._totals: dict[str, tuple[float, int]] = {}

    def add(self, label: str, seconds: float) -> None:
        """Add one call."""
        total, calls = self._totals.get(label, (0.0, 0))
        self._totals[label] = total + seconds, calls + 1

    def take(self) -> dict[str, Any]:
        """Return the totals as `timings`, unless there are none, and reset them."""
        totals, self._totals = self._totals, {}
        return {"timings": totals} if totals else {}


def train_ours(settings: Settings, channel: Channel) -> None:
    """Train in rounds, as one of `settings.ranks` ranks."""
    config = parse_config(settings.config, "benchmark")
    timings = Timings()
    device = BenchmarkDevice(settings.device)
    pacer = Pacer(
        channel,
        settings.images_per_iteration,
        settings.warmup,
        f"torch {torch.__version__}",
        lambda: {**timings.take(), **device.memory()},
        device.wait,
    )

    def paced_batches(*arguments: Any, **named: Any) -> Iterator[Images]:
        return paced(real_batches(*arguments, **named), pacer, settings.d_steps_per_iteration)

    with ExitStack() as patches:
        patches.enter_context(patch.object(gantrain.train, "real_batches", paced_batches))
        if settings.services == "off":
            _disable_services(patches)
        elif settings.services == "timed":
            _time_services(patches, timings)
        gantrain.train.run_training(config)


def _disable_services(patches: ExitStack) -> None:
    for owner, name in ((Meter, "add"), (Ema, "update"), (Schedule, "after_iteration")):
        patches.enter_context(patch.object(owner, name, lambda *arguments: None))
    patches.enter_context(patch.object(Heartbeat, "phase", lambda *arguments: nullcontext()))
    patches.enter_context(patch.object(Heartbeat, "_beat", lambda *arguments: None))


def _time_services(patches: ExitStack, timings: Timings) -> None:
    for owner, name, label in (
        (Meter, "add", "meter"),
        (Ema, "update", "ema"),
        (Schedule, "after_iteration", "after iteration"),
        (Saver, "_write", "checkpoint in the background"),
        (Heartbeat, "_write", "heartbeat file"),
    ):
        timed = _timed(getattr(owner, name), label, timings)
        patches.enter_context(patch.object(owner, name, timed))
    phase = _timed_phase(Heartbeat.phase, timings)
    patches.enter_context(patch.object(Heartbeat, "phase", phase))


def _timed(function: Callable[..., Any], label: str, timings: Timings) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        start = perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            timings.add(label, perf_counter() - start)

    return timed


def _timed_phase(original: Callable[..., Any], timings: Timings) -> Callable[..., Any]:
    """Wrap `Heartbeat.phase` to time each phase, and the bookkeeping of all phases."""

    @contextmanager
    def phase(heartbeat: Heartbeat, name: Phase) -> Iterator[None]:
        start = perf_counter()
        with original(heartbeat, name):
            entered = perf_counter()
            yield
            left = perf_counter()
        timings.add("phases", entered - start + perf_counter() - left)
        timings.add(f"phase {name}", left - entered)

    return phase
