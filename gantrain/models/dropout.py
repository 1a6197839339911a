"""Dropout (Srivastava et al. 2014) with masks that are cheap on a CPU.

torch generates each number of a mask on one core there, which takes a third of the time of the
book's DCGAN; one draw of NumPy's SFC64 has the bits for four (`python -m benchmarks.train`).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

_STEPS = 2**16  # p is rounded to a multiple of 1 / _STEPS


class Dropout(nn.Module):
    """Zero activations with probability p in training mode and scale the rest by 1 / (1 - p).

    The masks follow torch's seed.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, activations: Tensor) -> Tensor:
        return dropout(activations, self.p) if self.training else activations

    def extra_repr(self) -> str:
        return f"p={self.p:g}"


def dropout(activations: Tensor, p: float) -> Tensor:
    """Return activations, of any shape and dense layout, each zeroed with probability p.

    On a GPU this is torch's own dropout.
    """
    if activations.device.type != "cpu":
        return nn.functional.dropout(activations, p)
    dropped = round(p * _STEPS)
    seed = int(torch.randint(2**62, ()))
    bits = np.random.SFC64(seed).random_raw(-(-activations.numel() // 4)).view(np.int16)
    numbers = torch.from_numpy(bits[: activations.numel()])  # uniform over all int16
    kept = (
        (numbers >= dropped - _STEPS // 2).to(activations.dtype).mul_(_STEPS / (_STEPS - dropped))
    )
    return activations * kept.as_strided(activations.shape, activations.stride())


def add_dropout(network: nn.Module, p: Callable[[], float]) -> None:
    """Add dropout after every LeakyReLU of a network, with the probability that `p` returns then.

    Layers and parameter names stay as they are, so that checkpoints load with and without it.
    """

    def drop(layer: nn.Module, _: object, output: Tensor) -> Tensor:
        probability = p() if layer.training else 0.0
        # At 0 there is nothing to draw or copy.
        return dropout(output, probability) if probability else output

    for layer in network.modules():
        if isinstance(layer, nn.LeakyReLU):
            layer.register_forward_hook(drop)
