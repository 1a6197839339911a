"""What convolutions compute."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_TRANSPOSED = 6  # an argument of torch's convolution


class Passes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the passes that convolutions compute: forward, to inputs and to weights.

    kernels: (height, width) of those forward and to inputs.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.forward, self.inputs, self.weights = 0, 0, 0
        self.kernels: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.forward += not args[_TRANSPOSED]
            self.inputs += args[_TRANSPOSED]
            self.kernels.append(tuple(args[1].shape[2:]))
        if func is torch.ops.aten.convolution_backward.default:
            self.inputs += args[-1][0]
            self.weights += args[-1][1]
        return func(*args, **(kwargs or {}))
