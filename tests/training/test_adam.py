"""Adam as it lies in memory: the steps of torch's own, and no copy of a gradient."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gantrain.training.adam import FusedAdam


class Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the copies of tensors as large as a weight that calls of Adam make."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layouts: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._fused_adam_.default:
            self.layouts = [gradient.is_contiguous() for gradient in args[1]]
        return func(*args, **(kwargs or {}))


def test_steps_are_those_of_torch_and_copy_no_gradient() -> None:
    torch.manual_seed(0)
    layers = [
        nn.Sequential(nn.Conv2d(6, 7, 3), nn.Conv2d(7, 1, 1), nn.Linear(5, 4)).to(
            memory_format=torch.channels_last
        )  # type: ignore[call-overload]
        for _ in range(2)
    ]
    layers[1].load_state_dict(layers[0].state_dict())
    ours = FusedAdam(layers[0].parameters(), 1e-7)
    torchs = torch.optim.Adam(layers[1].parameters(), eps=1e-7, fused=True)
    for step in range(3):
        for network, optimizer in zip(layers, (ours, torchs), strict=True):
            generator = torch.Generator().manual_seed(step)
            for weight in network.parameters():
                gradient = torch.randn(weight.shape, generator=generator)
                weight.grad = torch.empty_like(weight).copy_(gradient)
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
            with Copies() as copies:
                optimizer.step()
            assert all(copies.layouts) == (optimizer is ours)
    for ours_now, torchs_now in zip(layers[0].parameters(), layers[1].parameters(), strict=True):
        assert torch.equal(ours_now, torchs_now)
        assert ours_now.stride() == torchs_now.stride()
    for mine, other in zip(_moments(ours), _moments(torchs), strict=True):
        assert torch.equal(mine, other)


def _moments(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [value for state in optimizer.state.values() for value in state.values()]
