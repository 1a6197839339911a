"""Normalisation of each image over channels and pixels, with fast second derivatives.

torch takes about forty elementwise passes over the maps for the gradient of a gradient penalty
through its GroupNorm. Here it takes two of the fused passes of an ordinary backward step and a few
sums. With the normalised maps z = (x - mean) scale and P(u) = u - mean(u) - z mean(u z), all means
over an image, the gradient of x from that of y is scale P(gain y); P is symmetric.

On CPUs, z and P are those of torch's GroupNorm. On GPUs they are those of its LayerNorm, of an
image as a row in the order of memory: GroupNorm copies maps whose channels are last, and the
convolutions around it copy them back.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from gantrain.common.layouts import is_channels_last, layout_of
from gantrain.models.convolutions import choosing_passes, differentiating_twice, wanted

_aten = torch.ops.aten


class LayerNorm(nn.GroupNorm):
    """torch's GroupNorm with one group, but fast within `fast_convolutions`.

    On CPUs, only within `fast_convolutions(twice=True)`. There it has derivatives of the first and
    second order only, and the type of its result is that of the maps, under autocast too.
    """

    def __init__(self, width: int, epsilon: float, *, affine: bool = True) -> None:
        super().__init__(1, width, epsilon, affine)

    def forward(self, input: Tensor) -> Tensor:
        is_fast = choosing_passes() if _by_rows(input) else differentiating_twice()
        if not is_fast or input.ndim != 4:
            return super().forward(input)
        maps = _dense(input, input)
        y: Tensor = _Norm.apply(maps, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        return y


class _Norm(Function):
    """y of (x, gain, bias)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor | None, bias: Tensor | None, epsilon: float
    ) -> Tensor:
        with _exactly(x):
            y, mean, scale = _normalise(x, gain, bias, epsilon)
        ctx.save_for_backward(x, gain, mean, scale)
        ctx.epsilon = epsilon
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (y,), (x, gain, mean, scale) = gradients, ctx.saved_tensors
        to_x, *to_affine = wanted(ctx)
        to_gain, to_bias = to_affine or (False, False)
        with _exactly(x):
            if not torch.is_grad_enabled():
                return *_backward(y, x, gain, mean, scale, (to_x, to_gain, to_bias)), None
            normal = torch.group_norm(x, 1, eps=ctx.epsilon) if to_gain else None
            return (
                _InputGradient.apply(y, x, gain, mean, scale) if to_x else None,  # type: ignore[no-untyped-call]
                None if normal is None else (y * normal).sum((0, 2, 3)),
                y.sum((0, 2, 3)) if to_bias else None,
                None,
            )


class _InputGradient(Function):
    """The gradient of x, of (gradient of y, x, gain)."""

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, x: Tensor, gain: Tensor | None, mean: Tensor, scale: Tensor
    ) -> Tensor:
        ctx.save_for_backward(y, x, gain, mean, scale)
        with _exactly(x):
            return cast(Tensor, _backward(y, x, gain, mean, scale, (True, False, False))[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (v,), (y, x, gain, mean, scale) = gradients, ctx.saved_tensors
        to_y, to_x, to_gain, *_ = wanted(ctx)
        with _exactly(x):
            v = _dense(v, x)
            projected = _project(v, x, mean, scale)
            gains = 1 if gain is None else _of_channels(gain, y)
            return (
                projected * gains if to_y else None,
                _to_maps(v, y * gains, x, mean, scale) if to_x else None,
                (y * projected).sum((0, 2, 3)).to(gain.dtype) if to_gain else None,
                None,
                None,
            )


def _to_maps(v: Tensor, y: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    # The gradient of the sum over v scale P(y), with respect to x: -scale² (a P(y) + b P(v) + c z).
    count = x[0].numel()
    sum_v, sum_y = _sum(v), _sum(y)
    v_z = (_dot(v, x) - mean * sum_v) * scale / count
    y_z = (_dot(y, x) - mean * sum_y) * scale / count
    rest = _dot(y, v) / count - sum_y * sum_v / count**2 - v_z * y_z
    mixed = y.mul(_each(-scale * v_z, y)).addcmul_(v, _each(-scale * y_z, v))
    gradient = _project(mixed, x, mean, scale)
    factor = -(scale**3) * rest
    return gradient.addcmul_(x, _each(factor, x)).sub_(_each(factor * mean, x))


def _backward(
    y: Tensor,
    x: Tensor,
    gain: Tensor | None,
    mean: Tensor,
    scale: Tensor,
    mask: tuple[bool, bool, bool],
) -> tuple[Tensor | None, ...]:
    if _by_rows(x):
        return _backward_by_rows(_dense(y, x), x, gain, mean, scale, mask)
    backward = _aten.native_group_norm_backward
    return tuple(backward(_dense(y, x), x, mean, scale, gain, *_sizes(x), 1, mask))


def _backward_by_rows(
    y: Tensor,
    x: Tensor,
    gain: Tensor | None,
    mean: Tensor,
    scale: Tensor,
    mask: tuple[bool, bool, bool],
) -> tuple[Tensor | None, ...]:
    to_x, to_gain, to_bias = mask
    of_x = of_gain = of_bias = None
    if to_x:
        rows = _rows(y if gain is None else y * _of_channels(gain, y))
        statistics = (mean, scale, None, None, (True, False, False))
        size = [rows.shape[1]]
        of_x = _aten.native_layer_norm_backward(rows, _rows(x), size, *statistics)[0]
        of_x = _maps(of_x, x)
    if gain is not None and (to_gain or to_bias):
        sums = y.sum((2, 3), dtype=mean.dtype)
        of_bias = sums.sum(0).to(gain.dtype)
        if to_gain:
            products = (y * x).sum((2, 3), dtype=mean.dtype)
            of_gain = ((products - mean * sums) * scale).sum(0).to(gain.dtype)
    return of_x, of_gain, of_bias if to_bias else None


def _normalise(
    x: Tensor, gain: Tensor | None, bias: Tensor | None, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, and of each image the mean and the scale, (N, 1)."""
    if not _by_rows(x):
        y, mean, scale = _aten.native_group_norm(x, gain, bias, *_sizes(x), 1, epsilon)
        return y, mean, scale
    rows = _rows(x)
    z, mean, scale = _aten.native_layer_norm(rows, [rows.shape[1]], None, None, epsilon)
    z = _maps(z, x)
    if gain is None or bias is None:
        return z.clone(), mean, scale  # what follows may change it in place, but not a view
    return torch.addcmul(_of_channels(bias, z), z, _of_channels(gain, z)), mean, scale


def _by_rows(x: Tensor) -> bool:
    return x.device.type != "cpu"


def _exactly(x: Tensor) -> AbstractContextManager[object]:
    # Autocast on a GPU would copy the maps to float32, in which torch's kernels compute anyway.
    return torch.autocast(x.device.type, enabled=False) if _by_rows(x) else nullcontext()


def _rows(x: Tensor) -> Tensor:
    """Return each image as a row, in the order of memory; x: dense."""
    return (x.permute(0, 2, 3, 1) if is_channels_last(x) else x).flatten(1)


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    """Return such rows as maps again."""
    if not is_channels_last(like):
        return rows.view(like.shape)
    images, channels, high, wide = like.shape
    return rows.view(images, high, wide, channels).permute(0, 3, 1, 2)


def _of_channels(weights: Tensor, maps: Tensor) -> Tensor:
    """Return a weight of each channel in a form that multiplies maps."""
    return weights.to(maps.dtype)[:, None, None]


def _project(u: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return scale P(u)."""
    return cast(Tensor, _backward(u, x, None, mean, scale, (True, False, False))[0])


def _sizes(x: Tensor) -> tuple[int, int, int]:
    images, channels, high, wide = x.shape
    return images, channels, high * wide


def _dense(values: Tensor, like: Tensor) -> Tensor:
    return values.contiguous(memory_format=layout_of(like))


def _sum(values: Tensor) -> Tensor:
    """Return the sum of each image, (N, 1), at least in float32."""
    exact = torch.promote_types(values.dtype, torch.float32)
    if values.device.type != "cpu":
        return values.sum((1, 2, 3), dtype=exact)[:, None]
    # In two steps, since torch converts its operand, not its result, if it sums in another type.
    return values.sum(1).sum((1, 2), dtype=exact)[:, None]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return _sum(a * b)


def _each(numbers: Tensor, maps: Tensor) -> Tensor:
    """Return a number for each image in a form that multiplies its maps."""
    return numbers.to(maps.dtype)[:, :, None, None]
