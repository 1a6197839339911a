"""Convolutions whose passes, and those of their derivatives of any order, are fast in a training.

A convolution is linear in its input and in its weight, so that all its derivatives, of any order,
are the three passes of an ordinary training step: forward, input gradient, weight gradient. torch's
own double backward instead computes the gradient of the weight by a convolution whose kernel is as
large as the maps, which takes up to four times as long. conv2d_gradfix of StyleGAN2-ADA (Karras et
al. 2020) composes the three passes for GPUs in the same way.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import linear

from gantrain.models.passes import Passes

# How many times less work than `smallest` suffices for a convolution to gain from: second
# derivatives, a weight gradient as a product, a pass to images, a kernel that covers the map.
_TWICE, _PRODUCT, _IMAGES, _WHOLE_MAP = 1, 2, 10, 500


@dataclass(frozen=True)
class _Choice:
    twice: bool
    smallest: float


_choice: _Choice | None = None


@contextmanager
def fast_convolutions(*, twice: bool = False, smallest: float = 5e7) -> Iterator[None]:
    """Within it, the layers below compute as `Passes` does where that is faster.

    Values and derivatives are torch's own but for rounding. Convolutions in groups, with dilation,
    or with a padding of "same" or "valid" stay as they are, and so do small ones, in which the
    calls of Python take longer than what they save.

    twice: make second derivatives fast too, on GPUs as well.
    smallest: multiplications in a pass over a batch, from which on a convolution is not small; less
        where a pass saves more.
    """
    global _choice
    outer, _choice = _choice, _Choice(twice, smallest)
    try:
        yield
    finally:
        _choice = outer


def differentiating_twice() -> bool:
    """Whether this is within `fast_convolutions(twice=True)`."""
    return _choice is not None and _choice.twice


def choosing_passes() -> bool:
    """Whether this is within `fast_convolutions`."""
    return _choice is not None


class Conv2d(nn.Conv2d):
    """torch's, but fast within `fast_convolutions`."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if torch.compiler.is_compiling() and _is_product(self, weight, input.shape[2:]):
            return linear(input.flatten(1), weight.flatten(1), bias)[:, :, None, None]
        if _is_plain(self) and not isinstance(self.padding, str):
            stride, padding = _pair(self.stride), _pair(self.padding)
            return convolve(input, weight, bias, stride, padding)
        return cast(Tensor, super()._conv_forward(input, weight, bias))


class ConvTranspose2d(nn.ConvTranspose2d):
    """torch's, but fast within `fast_convolutions`."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if torch.compiler.is_compiling() and input.shape[2:] == (1, 1):
            weight = self.weight
            if _is_product(self, weight, weight.shape[2:]):
                values = input.flatten(1) @ weight.flatten(1)
                maps = values.view(len(input), self.out_channels, *weight.shape[2:])
                return maps if self.bias is None else maps + self.bias[:, None, None]
        if _is_plain(self) and output_size is None:
            geometry = _pair(self.stride), _pair(self.padding), _pair(self.output_padding)
            return convolve_transposed(input, self.weight, self.bias, *geometry)
        return super().forward(input, output_size)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Return torch's `conv2d` of x, fast within `fast_convolutions`."""
    if _choice is not None:
        passes = Passes(stride, padding, x.device.type == "cpu")
        to_x = _choice.twice or (torch.is_grad_enabled() and x.requires_grad)
        if _pays(_choice, passes, x.shape, *_properties(x, weight), to_x=to_x):
            return _forward(*_as_autocast_does(x, weight, bias), passes)
    return torch.conv2d(x, weight, bias, stride, padding)


def convolve_transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    missing: tuple[int, int],
) -> Tensor:
    """Return torch's `conv_transpose2d` of x, fast within `fast_convolutions`.

    missing: rows and columns of the result that no kernel reaches, torch's output padding.
    """
    if _choice is not None:
        passes = Passes(stride, padding, x.device.type == "cpu")
        size = passes.input_size(x.shape, weight.shape, missing)
        if _pays(_choice, passes, size, *_properties(x, weight), to_x=True):
            return _input_gradient(*_as_autocast_does(x, weight, bias), size, passes)
    return torch.conv_transpose2d(x, weight, bias, stride, padding, missing)


def _is_plain(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    return layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"


def _is_product(layer: nn.Conv2d | nn.ConvTranspose2d, weight: Tensor, larger: torch.Size) -> bool:
    # larger: height and width of the larger maps; the others are of one pixel if the kernel is as
    # large. There torch.compile expects another layout of gradients than cuDNN gives (torch 2.11).
    # weight: the layer's, which spectral norm would compute anew, with another power iteration.
    covered = larger == weight.shape[2:] and layer.padding == (0, 0)
    without_more = layer.output_padding in (0, (0, 0))
    return _is_plain(layer) and covered and without_more


def _pair(numbers: Any) -> tuple[int, int]:
    return cast(tuple[int, int], numbers)


def _properties(given: Tensor, weight: Tensor) -> tuple[torch.Size, torch.dtype, bool]:
    """Return the weight's size, the type in which to compute, and whether it has a gradient."""
    to_weight = torch.is_grad_enabled() and weight.requires_grad
    return weight.shape, _computed_dtype(given), to_weight


@lru_cache(maxsize=4096)
def _pays(
    choice: _Choice,
    passes: Passes,
    size: torch.Size,
    weight: torch.Size,
    dtype: torch.dtype,
    to_weight: bool,
    *,
    to_x: bool,
) -> bool:
    # size: of x. to_x, to_weight: whether these passes are needed, now or later.
    savings = [0]
    if choice.twice:
        savings.append(_TWICE)
    if passes.forward_is_product(dtype, weight) or (
        to_weight and passes.weight_is_product(size, weight, dtype)
    ):
        savings.append(_PRODUCT)
    if passes.needs_layout(size) or (to_x and passes.halves_an_image(size, weight)):
        savings.append(_IMAGES)
    if passes.covers_the_map(size, weight):
        savings.append(_WHOLE_MAP)
    work = size[0] * math.prod(weight) * math.prod(passes.places(size, weight))
    return work * max(savings) >= choice.smallest


def _computed_dtype(x: Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _as_autocast_does(
    x: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    if not torch.is_autocast_enabled(x.device.type):
        return x, weight, bias
    dtype = _computed_dtype(x)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, passes: Passes) -> Tensor:
    return cast(Tensor, _Forward.apply(x, weight, bias, passes))  # type: ignore[no-untyped-call]


def _input_gradient(
    y: Tensor, weight: Tensor, bias: Tensor | None, size: torch.Size, passes: Passes
) -> Tensor:
    gradient = _InputGradient.apply(y, weight, bias, size, passes)  # type: ignore[no-untyped-call]
    return cast(Tensor, gradient)


def _weight_gradient(x: Tensor, y: Tensor, weight: Tensor, passes: Passes) -> Tensor:
    # The weight only gives a size. It is detached, so that no gradient is computed for it.
    gradient = _WeightGradient.apply(x, y, weight.detach(), passes)  # type: ignore[no-untyped-call]
    return cast(Tensor, gradient)


def wanted(ctx: Any) -> list[bool]:
    """Return of which tensors among the inputs the gradient is asked for."""
    # The gradient with respect to images needs none of the weights', and the other way round, which
    # needs_input_grad does not say.
    return [node is not None and _will_execute(node) for node, _ in ctx.next_functions]


def _will_execute(node: Any) -> bool:
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # for the leaves whose gradients torch.autograd.grad returns
        return True


def _to_bias(gradient: Tensor, wanted: list[bool]) -> Tensor | None:
    return gradient.sum((0, 2, 3)) if any(wanted) else None


class _Forward(Function):
    """y of (x, weight, bias)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, passes: Passes) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.passes = passes
        return passes.forward(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (y,), (x, weight) = gradients, ctx.saved_tensors
        to_x, to_weight, *to_bias = wanted(ctx)
        return (
            _input_gradient(y, weight, None, x.shape, ctx.passes) if to_x else None,
            _weight_gradient(x, y, weight, ctx.passes) if to_weight else None,
            _to_bias(y, to_bias),
            None,
        )


class _InputGradient(Function):
    """The gradient of x, of (gradient of y, weight, bias that is added)."""

    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        size: torch.Size,
        passes: Passes,
    ) -> Tensor:
        ctx.save_for_backward(y, weight)
        ctx.passes = passes
        return passes.to_input(y, weight, size, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (x,), (y, weight) = gradients, ctx.saved_tensors
        to_y, to_weight, *to_bias = wanted(ctx)
        return (
            _forward(x, weight, None, ctx.passes) if to_y else None,
            _weight_gradient(x, y, weight, ctx.passes) if to_weight else None,
            _to_bias(x, to_bias),
            None,
            None,
        )


class _WeightGradient(Function):
    """The gradient of the weight, of (x, gradient of y)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, weight: Tensor, passes: Passes) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.passes = passes
        return passes.to_weight(x, y, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (weight,), (x, y) = gradients, ctx.saved_tensors
        to_x, to_y, *_ = wanted(ctx)
        return (
            _input_gradient(y, weight, None, x.shape, ctx.passes) if to_x else None,
            _forward(x, weight, None, ctx.passes) if to_y else None,
            None,
            None,
        )
