"""Adam in one fused call, which on CPUs takes weights and gradients as they lie in memory."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gantrain.common.layouts import is_channels_last


class FusedAdam(torch.optim.Adam):
    """torch's fused Adam (Kingma and Ba 2015), without a copy of each gradient.

    On GPUs, the learning rate is a tensor there, which a CUDA graph reads.

    On CPUs torch copies the gradient of a weight whose channels are last, and then does not use
    the copy. It gets views here in which the memory is in order.
    """

    def __init__(self, weights: Iterable[nn.Parameter], epsilon: float) -> None:
        weights = list(weights)
        device = weights[0].device
        rate = torch.full((), 1e-3, device=device) if device.type == "cuda" else 1e-3
        super().__init__(weights, rate, eps=epsilon, fused=True)

    def _init_group(self, group: dict[str, Any], *lists: list[Tensor]) -> Any:
        result = super()._init_group(group, *lists)  # type: ignore[no-untyped-call]
        per_weight = lists[:4]  # weights, gradients and their two averages
        for i, tensors in enumerate(zip(*per_weight, strict=True)):
            if all(t.device.type == "cpu" and is_channels_last(t) for t in tensors):
                for values, tensor in zip(per_weight, tensors, strict=True):
                    values[i] = tensor.permute(0, 2, 3, 1)
        return result


def relative_change(adam: torch.optim.Optimizer) -> Tensor:
    """Return the norm of Adam's last step divided by that of all weights, a float32 scalar.

    Kingma and Ba 2015, algorithm 1.
    """
    steps, weights = [], []
    for group in adam.param_groups:
        beta1, beta2 = group["betas"]
        for weight in group["params"]:
            if not (moments := adam.state.get(weight)):
                continue
            mean = moments["exp_avg"] / (1 - beta1 ** moments["step"])
            square = moments["exp_avg_sq"] / (1 - beta2 ** moments["step"])
            steps.append(group["lr"] * mean / (square.sqrt() + group["eps"]))
            weights.append(weight.detach())
    return nn.utils.get_total_norm(steps) / nn.utils.get_total_norm(weights)
