"""The three passes of a convolution, each by the fastest way that torch has to the same values.

On CPUs, oneDNN's passes are slow where few channels or places leave its kernels half empty: for the
gradient of images, which is also the forward pass of a transposed convolution to images; for the
gradient of weights in bfloat16 if the maps are small; and for convolutions whose kernel covers the
map. Without AVX-512 it is slow in float32 where a layer has many weights, too. docs/performance.md
has the times.

On GPUs, cuDNN is slow for the gradient of images too, and in half precision for all passes of grey
images. The memory of a map of one pixel, or of one channel, has no order of channels and pixels, by
which torch guesses the layout of the result: the former are products there as well, and the latter
get strides that tell the order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from gantrain.models import squares

_aten = torch.ops.aten
_IMAGE_CHANNELS = 4  # for more, oneDNN's own input gradient is the faster one
# Places of y, for each place by which the kernel moves, up to which a weight gradient in bfloat16
# is faster as a matrix product.
_SMALL_MAP = 16
# Where there is AVX2 without AVX-512: numbers of weights from which on these passes in float32 are
# faster as matrix products, of which each holds at most so many numbers of the images.
_AVX2_ONLY = torch.backends.cpu.get_cpu_capability() == "AVX2"
_MANY_FORWARD, _MANY_TO_WEIGHT = 3_000_000, 500_000
_PART = 2**24


@dataclass(frozen=True)
class Passes:
    """The passes of y = x * weight + bias, a convolution with this stride and padding.

    x: (N, channels, H, W). weight: (outputs, channels, kernel height, kernel width). y: (N,
    outputs, H', W'). bias: (outputs,). Groups and dilation are 1.
    on_cpu: whether the tensors are there; elsewhere the other passes are torch's.
    """

    stride: tuple[int, int]
    padding: tuple[int, int]
    on_cpu: bool

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return y."""
        if self.covers_the_map(x.shape, weight.shape):
            return linear(_rows(x), _rows(weight), bias)[:, :, None, None]
        if self.reads_squares(x.shape, weight.shape, x.dtype):
            return squares.from_image(x, weight, self.padding[0], bias)
        x = self._with_layout(x)
        if self.forward_is_product(x.dtype, weight.shape):
            return self._forward_product(x, weight, bias)
        geometry = (self.stride, self.padding, (1, 1), False, (0, 0), 1)
        return torch.convolution(x, weight, bias, *geometry)

    def to_input(
        self, y: Tensor, weight: Tensor, size: torch.Size, bias: Tensor | None = None
    ) -> Tensor:
        """Return the gradient of x, which has this size, from that of y.

        bias: (channels,), is added to it, which makes it the transposed convolution.
        """
        if self.halves_an_image(size, weight.shape):
            return squares.to_image(y, weight, self.padding[0], bias)
        if self.covers_the_map(size, weight.shape):
            values = (y.flatten(1) @ _rows(weight)).view(len(y), *size[2:], size[1])
            values = values.permute(0, 3, 1, 2)
            return values if bias is None else values + bias[:, None, None]
        seen = self.input_size(y.shape, weight.shape)
        unseen = [size[2] - seen[2], size[3] - seen[3]]
        geometry = (self.stride, self.padding, (1, 1), True, unseen, 1)
        return torch.convolution(y, weight, bias, *geometry)

    def to_weight(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of the weight from that of y; of the weight only the size matters."""
        if self.weight_is_product(x.shape, weight.shape, x.dtype):
            return self._weight_product(x, y, weight)
        if self.reads_squares(x.shape, weight.shape, x.dtype):
            return squares.to_weight(x, y, weight.shape, self.padding[0])
        x = self._with_layout(x)
        geometry = (self.stride, self.padding, (1, 1), False, (0, 0), 1)
        mask = [False, True, False]
        return cast(Tensor, _aten.convolution_backward(y, x, weight, None, *geometry, mask)[1])

    def halves_an_image(self, size: torch.Size, weight: torch.Size) -> bool:
        """Whether x of this size is an image, which `to_input` computes by squares of pixels."""
        kernel, padding = weight[-1], self.padding[0]
        return (
            size[1] <= _IMAGE_CHANNELS
            and self.stride == (2, 2)
            and padding <= 2
            and kernel - padding <= 4
            and self.padding == (padding, padding)
            and weight[-2:] == (kernel, kernel)
            and all(2 * n == m for n, m in zip(self.places(size, weight), size[2:], strict=True))
        )

    def reads_squares(self, size: torch.Size, weight: torch.Size, dtype: torch.dtype) -> bool:
        """Whether the other passes read an image x of this size and type by squares, too."""
        half = dtype.itemsize < torch.float32.itemsize
        return half and self.needs_layout(size) and self.halves_an_image(size, weight)

    def needs_layout(self, size: torch.Size) -> bool:
        """Whether torch would guess the layout of the results from x of this size."""
        return size[1] == 1 and not self.on_cpu

    def covers_the_map(self, size: torch.Size, weight: torch.Size) -> bool:
        """Whether x of this size is as large as the kernel, so that all passes are products."""
        return size[2:] == weight[2:] and self.padding == (0, 0)

    def weight_is_product(self, size: torch.Size, weight: torch.Size, dtype: torch.dtype) -> bool:
        """Whether `to_weight` is a matrix product, for x of this size and type."""
        if dtype == torch.bfloat16:
            faster = (
                self.on_cpu
                and weight[2:] != (1, 1)
                and size[1] > _IMAGE_CHANNELS
                and math.prod(self.places(size, weight)) <= _SMALL_MAP * math.prod(self.stride)
            )
        else:
            faster = self._has_many_weights(_MANY_TO_WEIGHT, dtype, weight)
        return faster or self.covers_the_map(size, weight)

    def forward_is_product(self, dtype: torch.dtype, weight: torch.Size) -> bool:
        """Whether `forward` is a matrix product, for x of this type."""
        return self._has_many_weights(_MANY_FORWARD, dtype, weight)

    def _has_many_weights(self, least: int, dtype: torch.dtype, weight: torch.Size) -> bool:
        many = weight[2:] != (1, 1) and math.prod(weight) >= least
        return many and _AVX2_ONLY and self.on_cpu and dtype.itemsize >= torch.float32.itemsize

    def places(self, size: torch.Size, weight: torch.Size) -> tuple[int, int]:
        """Return height and width of y for x of this size."""
        high, wide = (
            (size[2 + i] + 2 * self.padding[i] - weight[2 + i]) // self.stride[i] + 1
            for i in range(2)
        )
        return high, wide

    def input_size(
        self, y: torch.Size, weight: torch.Size, unseen: Sequence[int] = (0, 0)
    ) -> torch.Size:
        """Return the size of x for y of this size; unseen: rows and columns that no kernel sees."""
        sides = [
            self._reach(y[2 + i], weight, i) - 2 * self.padding[i] + unseen[i] for i in range(2)
        ]
        return torch.Size([y[0], weight[1], *sides])

    def _with_layout(self, x: Tensor) -> Tensor:
        if not self.needs_layout(x.shape):
            return x
        # Only a view has strides that belong to the last dimension being that of the channels.
        return x.reshape(len(x), *x.shape[2:], 1).permute(0, 3, 1, 2)

    def _reach(self, places: int, weight: torch.Size, i: int) -> int:
        # How much of x, with its padding, kernels at so many places see.
        return (places - 1) * self.stride[i] + weight[2 + i]

    def _forward_product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        parts, kernels = torch.split(x, self._images_at_once(x, weight)), _rows(weight)
        values = [linear(self._windows(part, weight), kernels, bias) for part in parts]
        maps = torch.cat(values).view(len(x), *self.places(x.shape, weight.shape), -1)
        return maps.permute(0, 3, 1, 2)

    def _weight_product(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        outputs, channels, *kernel = weight.shape
        gradient = y.new_empty(outputs, weight[0].numel())
        size = self._images_at_once(x, weight)
        pairs = zip(torch.split(x, size), torch.split(y, size), strict=True)
        for part, (some_x, some_y) in enumerate(pairs):
            windows = self._windows(some_x, weight)
            gradient.addmm_(_at_places(some_y).t(), windows, beta=min(part, 1))
        return gradient.view(outputs, *kernel, channels).permute(0, 3, 1, 2)

    def _images_at_once(self, x: Tensor, weight: Tensor) -> int:
        # Windows take many times the memory of x. Sums of parts would be less exact in bfloat16.
        if x.dtype == torch.bfloat16:
            return len(x)
        numbers = math.prod(self.places(x.shape, weight.shape)) * weight[0].numel()
        return max(1, _PART // numbers)

    def _windows(self, x: Tensor, weight: Tensor) -> Tensor:
        # What the kernel sees at each place of y, a row of kernel height x kernel width x channels.
        places = high, wide = self.places(x.shape, weight.shape)
        down, right = self.stride
        margins = [0, 0]
        for i in (1, 0):
            seen = self._reach(places[i], weight.shape, i)
            margins += [self.padding[i], seen - self.padding[i] - x.shape[2 + i]]
        x = pad(x.permute(0, 2, 3, 1), margins).contiguous()
        image, row, pixel, channel = x.stride()
        size = (len(x), high, wide, *weight.shape[2:], x.shape[3])
        steps = (image, down * row, right * pixel, row, pixel, channel)
        return x.as_strided(size, steps).reshape(len(x) * high * wide, -1)


def _at_places(y: Tensor) -> Tensor:
    return y.permute(0, 2, 3, 1).flatten(0, 2)


def _rows(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(1)  # a view if the channels are last
