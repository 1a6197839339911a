"""CUDA graphs for tests without a GPU: operations are recorded with their tensors, and done again.

As in a graph, Python takes no part in a replay: numbers of the host are those of the capture, each
operation reads and writes the same memory as then, and what Python counted or replaced is lost.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import gantrain.models.dropout
import gantrain.training.gan
import gantrain.training.services
from gantrain.common import device_rng
from gantrain.config import NetworkConfig
from gantrain.training.adam import FusedAdam
from gantrain.training.step_graphs import GraphedSteps

Operation = tuple[Callable[..., Any], Any, Any, list[Tensor]]
Replace = Callable[[object, str, Any], object]  # setattr, or that of pytest's monkeypatch


class RecordedOperations:
    """A `Capture`. replays: how often recorded steps were done again."""

    def __init__(self) -> None:
        self.replays = 0
        self._recorder = _Recorder()

    def warm_up(self, work: Callable[[], Any]) -> Any:
        return work()

    def capture(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], object]]:
        recorder = self._recorder = _Recorder()
        try:
            with recorder:
                result = work()
        finally:  # a capture computes nothing
            with torch.no_grad():
                for tensor, value in reversed(recorder.overwritten):
                    tensor.copy_(value)

        def replay() -> None:
            self.replays += 1
            with torch.no_grad(), torch._C._AutoDispatchBelowAutograd():
                for operation in recorder.operations:
                    _do_again(*operation)

        return result, replay

    def outside(self, work: Callable[[], object]) -> None:
        self._recorder.operations.append((work, (), {}, []))


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.overwritten: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for tensor in _written(func, args, kwargs):
            self.overwritten.append((tensor.detach(), tensor.detach().clone()))
        result = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, _tensors(result)))
        return result


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    names = [argument.name for argument in func._schema.arguments]
    named = dict(zip(names, args, strict=False)) | kwargs
    changed = [a.name for a in func._schema.arguments if a.alias_info and a.alias_info.is_write]
    changed += ["running_mean", "running_var"]  # which batch_norm changes without saying so
    return _tensors([named.get(name) for name in changed])


def _tensors(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


def _do_again(func: Callable[..., Any], args: Any, kwargs: Any, results: list[Tensor]) -> None:
    for before, now in zip(results, _tensors(func(*args, **kwargs)), strict=True):
        if now.untyped_storage().data_ptr() != before.untyped_storage().data_ptr():
            before.copy_(now)


def capture_by(backend: RecordedOperations, replace: Replace) -> None:
    """Let the steps of the next trainings in this process be captured."""
    runner = GraphedSteps(backend)
    replace(gantrain.training.services, "step_runner", lambda *_: runner)
    replace(device_rng, "_kernel", lambda: philox_by_torch)


def as_on_a_gpu(replace: Replace) -> None:
    """Let learning rates and dropout be what a graph needs, and what they are on a GPU."""

    def adam(network: nn.Module, config: NetworkConfig) -> torch.optim.Adam:
        made = FusedAdam(network.parameters(), config.adam_epsilon)
        for group in made.param_groups:
            group["lr"] = torch.tensor(1e-3)
        return made

    replace(gantrain.training.gan, "_adam", adam)
    replace(gantrain.models.dropout, "dropout", torch.nn.functional.dropout)


def philox_by_torch(
    element: Tensor, position: Tensor, blocks: Tensor, key0: Tensor, key1: Tensor
) -> Tensor:
    """What the kernel of `device_rng` computes, as operations that can be recorded."""
    zero = torch.zeros_like(element)
    counter = position * blocks + torch.div(element, 4, rounding_mode="floor") + 1
    c = [counter, zero, zero, zero]
    for _ in range(10):
        (high0, low0), (high2, low2) = _product(_M0, c[0]), _product(_M1, c[2])
        c = [high2 ^ c[1] ^ key0, low2, high0 ^ c[3] ^ key1, low0]
        key0, key1 = key0 + _signed(0x9E3779B97F4A7C15), key1 + _signed(0xBB67AE8584CAA73B)
    return (torch.stack(c, 1).gather(1, (element % 4)[:, None])[:, 0] >> 11) & (2**53 - 1)


_M0, _M1 = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_LOW = 2**32 - 1


def _product(factor: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the upper and lower 64 bits of a product of unsigned numbers, in signed ones."""
    high, low = factor >> 32, factor & _LOW
    x_high, x_low = _upper(x), x & _LOW
    middle = high * x_low + _upper(low * x_low)
    other = low * x_high + (middle & _LOW)
    return high * x_high + _upper(middle) + _upper(other), _signed(factor) * x


def _upper(x: Tensor) -> Tensor:
    return (x >> 32) & _LOW


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
