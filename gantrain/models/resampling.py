"""Convolutions that double or halve maps as one pass, with a kernel that is one pixel larger.

To repeat each pixel as a square of 2x2 and then to convolve with a kernel of k x k is a transposed
convolution with k + 1 and stride 2, and to convolve and then to average squares of 2x2 is a
convolution with k + 1 and stride 2. The weights of the larger kernel are sums of neighbouring ones.
With k = 3 that takes 4/9 of the multiplications, and the larger maps are never written. The code of
Progressive GAN (Karras et al. 2018) has both as "fused scale". docs/performance.md has the times.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from gantrain.models.convolutions import Conv2d, convolve, convolve_transposed

_SMALLEST = 8  # pixels of a side: below, the sums of the weights take longer than they save


class DoublingConv2d(Conv2d):
    """Repeats each pixel as a square of 2x2, and convolves.

    Maps (N, before, H, W) become (N, after, 2 H, 2 W), in one pass if `in_one_pass` and if that is
    faster. The weight is (after, before, kernel, kernel) in any case.
    """

    sums: Tensor

    def __init__(self, before: int, after: int, kernel: int, *, bias: bool = True) -> None:
        padding = kernel // 2 if kernel % 2 else "same"  # with an even kernel the right has more
        super().__init__(before, after, kernel, padding=padding, bias=bias)
        self.in_one_pass = True
        self.register_buffer("sums", _sums_of_neighbours(kernel).flip(1), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        kernel = self.kernel_size[0]
        if self.in_one_pass and _is_faster(input, kernel):
            weight = _enlarged(self.weight, self.sums).transpose(0, 1)
            padding, missing = kernel // 2, 1 - kernel % 2
            return convolve_transposed(
                input, weight, self.bias, (2, 2), (padding, padding), (missing, missing)
            )
        if kernel == 1:  # both ways are the same, and this one is cheaper
            return interpolate(super().forward(input), scale_factor=2)
        return super().forward(interpolate(input, scale_factor=2))


class HalvingConv2d(Conv2d):
    """Convolves with an odd kernel, and averages squares of 2x2.

    Maps (N, before, H, W) become (N, after, H // 2, W // 2), in one pass if `in_one_pass` and if
    that is faster. The weight is (after, before, kernel, kernel) in any case.
    """

    sums: Tensor

    def __init__(self, before: int, after: int, kernel: int) -> None:
        super().__init__(before, after, kernel, padding=kernel // 2)
        self.in_one_pass = True
        self.register_buffer("sums", _sums_of_neighbours(kernel) / 4, persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        kernel = self.kernel_size[0]
        if self.in_one_pass and _is_faster(input, kernel):
            padding = kernel // 2
            weight = _enlarged(self.weight, self.sums)
            return convolve(input, weight, self.bias, (2, 2), (padding, padding))
        if kernel == 1:
            return super().forward(avg_pool2d(input, 2))
        return avg_pool2d(super().forward(input), 2)


def _is_faster(maps: Tensor, kernel: int) -> bool:
    # Kernels of one pixel commute with resampling, which is slow on GPUs only.
    return min(maps.shape[2:]) >= _SMALLEST and (kernel > 1 or maps.device.type != "cpu")


def _sums_of_neighbours(kernel: int) -> Tensor:
    """Return which weights each weight of the larger kernel adds up, ((kernel + 1)², kernel²)."""
    same = torch.eye(kernel)
    of_a_row = pad(same, (0, 0, 0, 1)) + pad(same, (0, 0, 1, 0))
    return torch.kron(of_a_row, of_a_row)


def _enlarged(weight: Tensor, sums: Tensor) -> Tensor:
    """Return the larger kernels (after, before, k + 1, k + 1) of a weight (after, before, k, k)."""
    side = weight.shape[-1] + 1
    with torch.autocast(weight.device.type, enabled=False):  # weights are rounded once, as sums
        kernels = sums @ weight.permute(0, 2, 3, 1).flatten(1, 2)
    return kernels.view(-1, side, side, weight.shape[1]).permute(0, 3, 1, 2)
