"""Convolutions between images and maps of half their size, by squares of pixels.

Libraries are slow for images, whose few channels leave their kernels half empty. A square of pixels
that is a single pixel with more channels fills them, with the same sums. A convolution here halves
an image (N, C, H, W): at place i of its result, a row or a column of its kernel covers pixels of
2 i - 2 to 2 i + 3. Weights are (outputs, C, kernel, kernel), and y is (N, outputs, H / 2, W / 2).
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from gantrain.common.layouts import layout_of

_WIDE = (torch.complex128, torch.float64, torch.float32)
_BEFORE, _SIDE = 2, 6  # how far a kernel of 3 x 3 squares of 2 x 2 reaches, and its side, in pixels
_ALIGNED = 16  # bytes: of the channels of a pixel, for cuDNN's fast kernels


def from_image(x: Tensor, weight: Tensor, padding: int, bias: Tensor | None) -> Tensor:
    """Return y, the convolution of an image x with this padding, channels last."""
    return torch.conv2d(_squares(x), _kernels_of_squares(weight, padding), bias, 1, 1)


def to_weight(x: Tensor, y: Tensor, weight: torch.Size, padding: int) -> Tensor:
    """Return the gradient of a weight of this size, channels last, from that of y."""
    outputs, channels, *kernel = weight
    pixels = _squares(x)
    kernels = pixels.new_empty(outputs, pixels.shape[1], 3, 3)  # only their size matters
    geometry = ((1, 1), (1, 1), (1, 1), False, (0, 0), 1, [False, True, False])
    gradient = torch.ops.aten.convolution_backward(y, pixels, kernels, None, *geometry)[1]
    parts = gradient[:, : 4 * channels].reshape(outputs, 2, 2, channels, 3, 3)
    whole = parts.permute(0, 3, 4, 1, 5, 2).reshape(outputs, channels, _SIDE, _SIDE)
    start = _BEFORE - padding
    down, right = (slice(start, start + side) for side in kernel)
    values: Tensor = whole[:, :, down, right].contiguous(memory_format=torch.channels_last)
    return values


def to_image(y: Tensor, weight: Tensor, padding: int, bias: Tensor | None) -> Tensor:
    """Return the gradient of the image from that of y, and a bias (C,) added to it."""
    # The pixels of a square of 2x2 depend on 3x3 places of y, those of a square of 4x4 on 4x4 of
    # them. So a convolution to a map for each pixel of a square yields all. Small ones need fewer
    # multiplications, but oneDNN computes 16 maps in the time of one.
    _, channels, kernel, _ = weight.shape
    side = 4 if channels == 1 and y.shape[2] % 2 == y.shape[3] % 2 == 0 else 2
    before = side - padding
    after = 2 * side + 2 - before - kernel
    parts = pad(weight, (before, after, before, after)).unfold(2, side, 2).unfold(3, side, 2)
    parts = parts.flip(2, 3).permute(4, 5, 1, 0, 2, 3).flatten(0, 2)
    bias = None if bias is None else bias.repeat(side**2)
    return _from_squares(torch.conv2d(y, parts, bias, side // 2, 1), side)


def _squares(x: Tensor) -> Tensor:
    # (N, 4 C and as many zeros as it takes, H / 2, W / 2), channels last
    images, channels, high, wide = x.shape
    parts = x.permute(0, 2, 3, 1).reshape(images, high // 2, 2, wide // 2, 2, channels)
    pixels = parts.transpose(2, 3).reshape(images, high // 2, wide // 2, 4 * channels)
    return _aligned(pixels).permute(0, 3, 1, 2)


def _kernels_of_squares(weight: Tensor, padding: int) -> Tensor:
    before, after = _BEFORE - padding, _SIDE - _BEFORE + padding - weight.shape[-1]
    outputs, channels, *_ = weight.shape
    parts = pad(weight, (before, after, before, after)).view(outputs, channels, 3, 2, 3, 2)
    return _aligned(parts.permute(0, 2, 4, 3, 5, 1).flatten(3)).permute(0, 3, 1, 2)


def _aligned(pixels: Tensor) -> Tensor:
    # pixels: the channels are the last dimension
    return pad(pixels, (0, -pixels.shape[-1] % (_ALIGNED // pixels.element_size())))


def _from_squares(maps: Tensor, side: int) -> Tensor:
    """Return images (N, C, side H, side W) from maps (N, side² C, H, W), one for each pixel of a
    square.

    maps: those of the upper left pixel first, then of the others of its row.

    As torch's `pixel_shuffle`, which takes up to seven times as long on CPUs.
    """
    images, channels, high, wide = len(maps), maps.shape[1] // side**2, *maps.shape[2:]
    # The pixels of a row of a square stay next to each other, and are copied as wide numbers.
    row = side * channels * maps.element_size()
    number = next(kind for kind in _WIDE if row % kind.itemsize == 0)
    squares = maps.permute(0, 2, 3, 1).contiguous().view(number)
    rows = squares.view(images, high, wide, side, -1).transpose(2, 3).contiguous()
    pixels = rows.view(maps.dtype).view(images, side * high, side * wide, channels)
    return pixels.permute(0, 3, 1, 2).contiguous(memory_format=layout_of(maps))
