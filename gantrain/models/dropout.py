"""Dropout (Srivastava et al. 2014) whose masks cost little on a CPU.

torch draws each number of a mask on one core there, which takes a third of the time of the book's
DCGAN; NumPy's SFC64 gives the bits of four at once (benchmarks/train.py).
"""

import numpy as np
import torch
from torch import Tensor, nn

_STEPS = 2**16  # in which the share of activations is rounded


class Dropout(nn.Module):
    """In training mode sets a share of activations to 0 and scales the others up to keep the mean.

    Its masks follow torch's seed.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, activations: Tensor) -> Tensor:
        return dropout(activations, self.share) if self.training else activations

    def extra_repr(self) -> str:
        return f"share={self.share:g}"


def dropout(activations: Tensor, share: float) -> Tensor:
    """Activations of any shape and dense layout, with a share of them set to 0.

    On a GPU it is torch's own.
    """
    if activations.device.type != "cpu":
        return nn.functional.dropout(activations, share)
    dropped = round(share * _STEPS)
    seed = int(torch.randint(2**62, ()))
    bits = np.random.SFC64(seed).random_raw(-(-activations.numel() // 4)).view(np.int16)
    numbers = torch.from_numpy(bits[: activations.numel()])  # evenly distributed over all int16
    kept = (
        (numbers >= dropped - _STEPS // 2).to(activations.dtype).mul_(_STEPS / (_STEPS - dropped))
    )
    return activations * kept.as_strided(activations.shape, activations.stride())
