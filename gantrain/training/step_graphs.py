"""D and G steps as CUDA graphs: all kernels of a step are started by one call.

A step of a GAN is some hundred small kernels, each of which the host starts; a fast GPU is done
with them long before. A graph is captured while the host goes through a step once; replayed, it
runs the same kernels on the same memory. So what changes from step to step must lie in that memory:
the images, their classes, the position of the random numbers, the learning rates. Numbers of the
host that a step computes with are part of the graph (`constants`); with other numbers, it is
another graph.
"""

import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor

from gantrain.common.device_rng import DeviceRNG, agrees_with_host
from gantrain.common.rng import Stream
from gantrain.config import Config
from gantrain.config.schedules import Schedule
from gantrain.training.batch import Batch, DeviceMoment
from gantrain.training.distributed import uses_graphs
from gantrain.training.gan import Gan
from gantrain.training.objectives import Objective, constants

logger = logging.getLogger(__name__)

Step = Callable[[Gan, Objective, Batch], Any]  # returns metrics, or a tuple of them

_STEPS_BEFORE = 3  # libraries choose kernels and get memory in the first ones
_MOST_GRAPHS = 8
_MOST_COUNTED = 1000


class Capture(Protocol):
    """Runs work so that it can be captured, and captures it."""

    def warm_up(self, work: Callable[[], Any]) -> Any:
        """Do the work as usual and return its result."""

    def capture(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], object]]:
        """Return the result of the work, without values yet, and what gives it new values."""

    def outside(self, work: Callable[[], object]) -> None:
        """Within a capture: let each replay do this here, between two graphs."""


class StepRunner(Protocol):
    """Runs the steps of a training. manner: how, in a few words; empty: they are called."""

    manner: str

    def run(self, step: Step, gan: Gan, objective: Objective, batch: Batch) -> Any:
        """Return what step(gan, objective, batch) returns; used before the next call."""

    def forget(self) -> None:
        """Start anew: tensors of the training may have been replaced."""


class EagerSteps:
    """Calls the steps."""

    manner = ""

    def run(self, step: Step, gan: Gan, objective: Objective, batch: Batch) -> Any:
        return step(gan, objective, batch)

    def forget(self) -> None:
        """Do nothing."""


class CudaCapture:
    """CUDA graphs that share their memory, for they run one after the other.

    Work outside them splits a step into several graphs.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._memory = torch.cuda.graph_pool_handle()
        self._parts: list[Callable[[], object]] = []
        self._open = ExitStack()

    def warm_up(self, work: Callable[[], Any]) -> Any:
        # On the stream of the capture, for which libraries get memory of its own.
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = work()
        current.wait_stream(self._stream)
        return result

    def capture(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], object]]:
        parts = self._parts = []
        with self._open:
            self._begin()
            result = work()

        def replay() -> None:
            for part in parts:
                part()

        return result, replay

    def outside(self, work: Callable[[], object]) -> None:
        self._open.close()
        self._parts.append(work)
        self._begin()

    def _begin(self) -> None:
        graph = torch.cuda.CUDAGraph()
        # Threads that load images or save a checkpoint continue meanwhile.
        capture = torch.cuda.graph(
            graph, self._memory, self._stream, capture_error_mode="thread_local"
        )
        self._open.enter_context(capture)
        self._parts.append(graph.replay)


@dataclass(frozen=True)
class _Graph:
    """replay: computes `result` anew. dropout: what torch is seeded for before it."""

    replay: Callable[[], object]
    result: Any
    dropout: Stream | None


@dataclass
class _Inputs:
    """The memory that graphs read.

    images, classes: of a batch. position: of its random numbers. scheduled: see `DeviceMoment`.
    """

    images: Tensor
    classes: Tensor | None
    position: Tensor
    scheduled: dict[Schedule[Any], Tensor] = field(default_factory=dict)

    @staticmethod
    def like(batch: Batch) -> "_Inputs":
        classes = None if batch.classes is None else torch.empty_like(batch.classes)
        position = torch.zeros((), dtype=torch.int64, device=batch.images.device)
        return _Inputs(torch.empty_like(batch.images), classes, position)

    def fill(self, batch: Batch) -> None:
        self.images.copy_(batch.images)
        if self.classes is not None and batch.classes is not None:
            self.classes.copy_(batch.classes)
        self.position.fill_(batch.rng.start)
        for setting, value in self.scheduled.items():
            value.fill_(batch.moment.value_of(setting))

    def batch(self, batch: Batch, reseeds: list[Stream] | None = None) -> Batch:
        """Return the batch that has been filled in, with numbers that are drawn on the device."""
        rng, now, device = batch.rng, batch.moment, self.position.device
        there = DeviceRNG(rng.seed, rng.start, rng.count, self.position, reseeds)
        moment = DeviceMoment(now.images_seen, now.total_images, now.d_step, self.scheduled, device)
        return Batch(self.images, there, moment, self.classes)


@dataclass
class GraphedSteps:
    """Captures each step once it has run a few times, and replays it from then on."""

    backend: Capture
    manner: str = "with CUDA graphs"
    _inputs: _Inputs | None = None
    _counts: dict[Hashable, int] = field(default_factory=dict)
    _graphs: dict[Hashable, _Graph] = field(default_factory=dict)
    _failed: bool = False

    def run(self, step: Step, gan: Gan, objective: Objective, batch: Batch) -> Any:
        key = (step, _constants(gan), constants(objective, batch.moment))
        if self._inputs is None:
            self._inputs = _Inputs.like(batch)
        self._inputs.fill(batch)
        graph = self._graphs.get(key)
        if graph is None and self._is_due(key):
            graph = self._capture(key, step, gan, objective, batch)
        if graph is None:
            there = self._inputs.batch(batch)
            return self.backend.warm_up(lambda: step(gan, objective, there))
        if graph.dropout is not None:
            batch.rng.seed_torch(graph.dropout, batch.images.device)
        graph.replay()
        return graph.result

    def forget(self) -> None:
        self._inputs = None
        self._counts.clear()
        self._graphs.clear()

    def _is_due(self, key: Hashable) -> bool:
        if self._failed:
            return False
        if len(self._counts) >= _MOST_COUNTED:  # of numbers that are others in each step
            self._counts.clear()
        self._counts[key] = self._counts.get(key, 0) + 1
        return self._counts[key] > _STEPS_BEFORE

    def _capture(
        self, key: Hashable, step: Step, gan: Gan, objective: Objective, batch: Batch
    ) -> _Graph | None:
        assert self._inputs is not None
        reseeds: list[Stream] = []
        there = self._inputs.batch(batch, reseeds)

        def work() -> Any:
            return _detached(step(gan, objective, there))

        try:
            with _capturable(gan, self.backend.outside):
                result, replay = self.backend.capture(work)
        except RuntimeError as error:
            self._failed = True
            _discard_gradients(gan)
            reason = str(error).strip().split("\n")[0]
            logger.warning(f"steps are not captured as CUDA graphs, which is slower: {reason}")
            return None
        if len(self._graphs) >= _MOST_GRAPHS:
            del self._graphs[next(iter(self._graphs))]
        self._graphs[key] = graph = _Graph(replay, result, reseeds[0] if reseeds else None)
        return graph


def _constants(gan: Gan) -> tuple[float, ...]:
    """Return the numbers of the host that a step computes with now and that may change."""
    groups = _groups(gan)
    numbers = [gan.augment_probability, *(group["lr"] for group in groups)]
    betas = [beta for group in groups for beta in group["betas"]]
    return gan.extra_dropout, *betas, *(n for n in numbers if not isinstance(n, Tensor))


@contextmanager
def _capturable(gan: Gan, outside: Callable[[Callable[[], object]], None]) -> Iterator[None]:
    """Within it, steps can be captured; the exchange between the ranks is left to `outside`."""
    groups = _groups(gan)
    for group in groups:
        group["capturable"] = True
    at_once, gan.exchange.outside_graph = gan.exchange.outside_graph, outside
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False
        gan.exchange.outside_graph = at_once


def _discard_gradients(gan: Gan) -> None:
    """Forget the gradients of a step that did not end."""
    for optimizer in (gan.g_optimizer, gan.d_optimizer):
        optimizer.zero_grad()
    if (scaler := gan.accelerator.scaler) is not None:
        # The same scale once more: otherwise it refuses gradients until its next update.
        scaler.update(scaler.get_scale())


def _groups(gan: Gan) -> list[dict[str, Any]]:
    return [*gan.g_optimizer.param_groups, *gan.d_optimizer.param_groups]


def _detached(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_detached(metrics) for metrics in result)
    return {name: value.detach() for name, value in result.items()}


def step_runner(config: Config, accelerator: Accelerator) -> StepRunner:
    """Return what runs the steps of this rank: with CUDA graphs where that is possible."""
    if not uses_graphs(config, accelerator):
        return EagerSteps()
    if not agrees_with_host(accelerator.device):
        logger.warning("no CUDA graphs, which is slower: the GPU cannot draw the host's numbers")
        return EagerSteps()
    return GraphedSteps(CudaCapture(accelerator.device))
