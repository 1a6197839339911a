"""Convolutions whose second derivatives are as fast as their first.

A convolution is linear in its input and in its weight, so that all its derivatives, of any order,
are the three passes of an ordinary training step: forward, input gradient, weight gradient. torch's
own double backward instead computes the gradient of the weight by a convolution whose kernel is as
large as the maps, which takes up to four times as long. conv2d_gradfix of StyleGAN2-ADA (Karras et
al. 2020) composes the three passes for GPUs in the same way.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import pad, pixel_shuffle
from torch.overrides import TorchFunctionMode

_aten = torch.ops.aten
_ARGUMENTS = 7  # that nn.Conv2d passes to torch.conv2d
_IMAGE_CHANNELS = 4  # for more, oneDNN's own input gradient is the faster one


class FastSecondDerivatives(TorchFunctionMode):
    """Within it, second derivatives of convolutions take the passes of an ordinary training step.

    Values are torch's own, and so are first derivatives but for rounding. Convolutions in groups,
    with dilation, or with a padding of "same" or "valid" stay as they are, and so do small ones, in
    which the calls of Python take longer than what they save.

    smallest: multiplications in a pass over a batch, from which on a convolution is not small; a
        fortieth of that for one of images, in which more is saved.
    """

    def __init__(self, smallest: float = 2e8) -> None:
        super().__init__()
        self._smallest = smallest

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d and not kwargs and len(args) == _ARGUMENTS:
            x, weight, bias, stride, padding, dilation, groups = args
            if (
                not isinstance(padding, str)
                and tuple(dilation) == (1, 1)
                and groups == 1
                and self._pays(x, weight, stride)
            ):
                passes = _Passes(tuple(stride), tuple(padding))
                return _forward(*_as_autocast_does(x, weight, bias), passes)
        return func(*args, **(kwargs or {}))

    def _pays(self, x: Tensor, weight: Tensor, stride: tuple[int, int]) -> bool:
        places = x.shape[-2] // stride[0] * (x.shape[-1] // stride[1])
        work = x.shape[0] * weight.numel() * places
        return work >= self._smallest / (40 if x.shape[1] <= _IMAGE_CHANNELS else 1)


def _as_autocast_does(
    x: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    device = x.device.type
    if not torch.is_autocast_enabled(device):
        return x, weight, bias
    dtype = torch.get_autocast_dtype(device)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


@dataclass(frozen=True)
class _Passes:
    """The three passes of a convolution y = x * weight + bias with this stride and padding.

    Where torch has a faster way to the same values than the pass that it calls so, they take it.
    """

    stride: tuple[int, int]
    padding: tuple[int, int]

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return y."""
        geometry = (self.stride, self.padding, (1, 1), False, (0, 0), 1)
        return cast(Tensor, _aten.convolution(x, weight, bias, *geometry))

    def to_input(self, y: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Return the gradient of x from that of y; of x only the size matters."""
        if self._halves_an_image(x, y, weight):
            return _to_image(y, weight, self.padding[0])
        return self._backward(y, x, weight, 0)

    def to_weight(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of the weight from that of y; of the weight only the size matters."""
        return self._backward(y, x, weight, 1)

    def _backward(self, y: Tensor, x: Tensor, weight: Tensor, index: int) -> Tensor:
        geometry = (self.stride, self.padding, (1, 1), False, (0, 0), 1)
        mask = [i == index for i in range(3)]
        return cast(Tensor, _aten.convolution_backward(y, x, weight, None, *geometry, mask)[index])

    def _halves_an_image(self, x: Tensor, y: Tensor, weight: Tensor) -> bool:
        kernel, padding = weight.shape[-1], self.padding[0]
        return (
            x.device.type == "cpu"
            and x.shape[1] <= _IMAGE_CHANNELS
            and self.stride == (2, 2)
            and padding <= 2
            and kernel - padding <= 4
            and self.padding == (padding, padding)
            and weight.shape[-2:] == (kernel, kernel)
            and x.shape[-2:] == (2 * y.shape[-2], 2 * y.shape[-1])
        )


def _to_image(y: Tensor, weight: Tensor, padding: int) -> Tensor:
    # A pixel depends on 3x3 places of y, by one of four parts of the kernel, one for each position
    # in its square of 2x2. So a convolution to four maps yields all pixels.
    outputs, channels, kernel, _ = weight.shape
    before = 2 - padding
    after = 6 - before - kernel
    parts = pad(weight, (before, after, before, after)).view(outputs, channels, 3, 2, 3, 2)
    parts = parts.flip(2, 4).permute(1, 3, 5, 0, 2, 4).reshape(4 * channels, outputs, 3, 3)
    return pixel_shuffle(torch.conv2d(y, parts, padding=1), 2)


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, passes: _Passes) -> Tensor:
    return cast(Tensor, _Forward.apply(x, weight, bias, passes))  # type: ignore[no-untyped-call]


# What only gives a size is detached: no gradient flows there, which would be computed nevertheless.


def _input_gradient(y: Tensor, weight: Tensor, x: Tensor, passes: _Passes) -> Tensor:
    gradient = _InputGradient.apply(y, weight, x.detach(), passes)  # type: ignore[no-untyped-call]
    return cast(Tensor, gradient)


def _weight_gradient(x: Tensor, y: Tensor, weight: Tensor, passes: _Passes) -> Tensor:
    gradient = _WeightGradient.apply(x, y, weight.detach(), passes)  # type: ignore[no-untyped-call]
    return cast(Tensor, gradient)


def _wanted(ctx: Any) -> list[bool]:
    """Return of which tensors among the inputs the gradient is asked for."""
    # The gradient with respect to images needs none of the weights', and the other way round, which
    # needs_input_grad does not say.
    return [node is not None and _will_execute(node) for node, _ in ctx.next_functions]


def _will_execute(node: Any) -> bool:
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # for the leaves whose gradients torch.autograd.grad returns
        return True


class _Forward(Function):
    """y of (x, weight, bias)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, passes: _Passes
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.passes = passes
        return passes.forward(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (y,), (x, weight) = gradients, ctx.saved_tensors
        to_x, to_weight, *to_bias = _wanted(ctx)
        return (
            _input_gradient(y, weight, x, ctx.passes) if to_x else None,
            _weight_gradient(x, y, weight, ctx.passes) if to_weight else None,
            y.sum((0, 2, 3)) if any(to_bias) else None,
            None,
        )


class _InputGradient(Function):
    """The gradient of x, of (gradient of y, weight)."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, weight: Tensor, x: Tensor, passes: _Passes) -> Tensor:
        ctx.save_for_backward(y, weight)
        ctx.passes = passes
        return passes.to_input(y, weight, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (x,), (y, weight) = gradients, ctx.saved_tensors
        to_y, to_weight, _ = _wanted(ctx)
        return (
            _forward(x, weight, None, ctx.passes) if to_y else None,
            _weight_gradient(x, y, weight, ctx.passes) if to_weight else None,
            None,
            None,
        )


class _WeightGradient(Function):
    """The gradient of the weight, of (x, gradient of y)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, weight: Tensor, passes: _Passes) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.passes = passes
        return passes.to_weight(x, y, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (weight,), (x, y) = gradients, ctx.saved_tensors
        to_x, to_y, _ = _wanted(ctx)
        return (
            _input_gradient(y, weight, x, ctx.passes) if to_x else None,
            _forward(x, weight, None, ctx.passes) if to_y else None,
            None,
            None,
        )
